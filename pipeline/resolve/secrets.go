package resolve

import (
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
