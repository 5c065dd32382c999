package resolve

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/slipway-ci/slipway/pipeline/expr"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// SecretNames are the secrets that the expressions in parts of a plan refer to, upper case and sorted. all: an expression takes them in another
// way than by name (a computed key, or all of them), so it may mean any.
func SecretNames(parts ...proto.Message) (names []string, all bool) {
	found := map[string]bool{}
	for _, p := range parts {
		all = secretsIn(p.ProtoReflect(), found) || all
	}
	return slices.Sorted(maps.Keys(found)), all
}

// secretsIn visits every value below a message.
func secretsIn(m protoreflect.Message, found map[string]bool) (all bool) {
	if v, ok := m.Interface().(*planv1.Value); ok {
		return secretsOf(v.GetExpr(), found)
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Kind() != protoreflect.MessageKind || f.IsMap():
		case f.IsList():
			for i := range v.List().Len() {
				all = secretsIn(v.List().Get(i).Message(), found) || all
			}
		default:
			all = secretsIn(v.Message(), found) || all
		}
		return true
	})
	return all
}

func secretsOf(src string, found map[string]bool) (all bool) {
	if !strings.Contains(strings.ToLower(src), "secrets") {
		return false // as most, which are not worth parsing
	}
	e, err := expr.ParseCompiled(src)
	if err != nil {
		return false // it fails where it is evaluated
	}
	for _, r := range e.References() {
		switch {
		case r.Context != "secrets":
		case len(r.Path) == 0 || r.Path[0] == "*":
			all = true
		default:
			found[strings.ToUpper(r.Path[0])] = true
		}
	}
	return all
}

// WithoutSecrets is the error that a value ended with, for where nobody hides secrets: what an expression says of the values that it was given
// quotes them, so of one that refers to secrets only its place is told.
func WithoutSecrets(v *planv1.Value, err error) error {
	if names, all := SecretNames(v); err == nil || !all && len(names) == 0 {
		return err
	}
	return fail(v.GetPosition(), errors.New("the expression can't be evaluated with the secrets as they are; why is not told, for that could quote one"))
}
