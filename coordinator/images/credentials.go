package images

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/resolve"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// Credentials are what a container's `credentials` say; the zero value is what the configuration has for the registry.
type Credentials struct{ Username, Password string }

// SecretNames are the secrets that the credentials of a plan's containers refer to, and those that calls make of others; as
// resolve.SecretNames. A plan without credentials needs none.
func SecretNames(plan *planv1.Plan) (names []string, all bool) {
	var parts, calls []proto.Message
	jobs := slices.Clone(plan.GetJobs())
	for _, w := range plan.GetWorkflows() {
		jobs = append(jobs, w.GetJobs()...)
	}
	for _, j := range jobs {
		containers := []*planv1.Container{j.GetContainer()}
		for _, s := range j.GetServices() {
			containers = append(containers, s.GetContainer())
		}
		for _, c := range containers {
			if c.GetUsername() != nil {
				parts = append(parts, c.GetUsername())
			}
			if c.GetPassword() != nil {
				parts = append(parts, c.GetPassword())
			}
		}
		for _, e := range j.GetCall().GetSecrets() {
			calls = append(calls, e)
		}
	}
	if len(parts) == 0 {
		return nil, false
	}
	return resolve.SecretNames(append(parts, calls...)...)
}

// known refuses credentials that depend on what is not known when the run is submitted.
func (f *finder) known(c *planv1.Container) bool {
	for _, v := range []*planv1.Value{c.GetUsername(), c.GetPassword()} {
		names := f.contextsOf(v)
		if slices.Contains(names, "needs") || slices.Contains(names, "env") {
			f.fail(v.GetPosition(), "dynamic-image", "credentials that depend on another job's output, or on `env`, are not supported: images are pinned when the run is submitted",
				"name a secret, a variable or an input")
			return false
		}
	}
	return true
}

func (f *finder) credentials(c *planv1.Container, env *expr.Env) (Credentials, bool) {
	var out Credentials
	for _, v := range []struct {
		from *planv1.Value
		to   *string
	}{{c.GetUsername(), &out.Username}, {c.GetPassword(), &out.Password}} {
		var err error
		if *v.to, err = resolve.String(v.from, env); err != nil {
			f.invalid(v.from.GetPosition(), "credentials", resolve.WithoutSecrets(v.from, err))
			return Credentials{}, false
		}
	}
	return out, true
}

// secrets are what a call hands to the workflow that it calls, as far as that is known.
func (f *finder) secrets(call *planv1.Call, env *expr.Env) expr.Value {
	outer, _ := f.contexts.Get("secrets")
	if call.GetInheritSecrets() || outer.Object() == nil {
		return outer
	}
	inner := expr.NewObject()
	for _, e := range call.GetSecrets() {
		if names := f.contextsOf(e.GetValue()); slices.Contains(names, "needs") {
			continue
		}
		if text, err := resolve.String(e.GetValue(), env); err == nil && text != "" {
			inner.Set(strings.ToUpper(e.GetName()), expr.String(text))
		}
	}
	return inner.Value()
}
