package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/internal/rpcerr"
	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/resolve"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// SecretControl is what an attempt's secrets are found by.
type SecretControl interface {
	// AttemptSecrets says which secrets a live attempt may be given. PERMISSION_DENIED if its run is over.
	AttemptSecrets(ctx context.Context, ref AttemptRef) (SecretUse, error)
}

// SecretUse says which secrets an attempt may be given. The zero value is none.
type SecretUse struct {
	// Project whose secrets, and the organisation's, the run's own workflow sees.
	Project string
	// Names that the job's values refer to, upper case; All: they may refer to any.
	Names []string
	All   bool
	// Calls lead from the run's own workflow to the job's, outermost first: each decides what the next one sees.
	Calls []SecretCall
}

// SecretCall is what a call hands to the workflow that it calls.
type SecretCall struct {
	// Inherit: all that the caller sees. Else the entries.
	Inherit bool
	Entries []*planv1.Entry
	// Contexts that the entries see, JSON.
	Contexts string
}

// secretSet is a set of names of secrets.
type secretSet struct {
	all   bool
	names []string
}

func (w secretSet) has(name string) bool {
	return w.all || slices.Contains(w.names, strings.ToUpper(name))
}

// Resolve returns the secrets by name, upper case, without those that are empty, and the values from which callers made them. read returns
// those of the project.
func (u SecretUse) Resolve(read func(want func(name string) bool) (map[string]string, error)) (values map[string]string, made []string, err error) {
	// What each level wants follows from what the one below it does.
	levels := make([]secretSet, len(u.Calls)+1)
	levels[len(u.Calls)] = secretSet{u.All, u.Names}
	for i := len(u.Calls) - 1; i >= 0; i-- {
		levels[i] = u.Calls[i].wants(levels[i+1])
	}
	if values, err = read(levels[0].has); err != nil {
		return nil, nil, err
	}
	for i, c := range u.Calls {
		if c.Inherit {
			continue
		}
		outer := values
		if values, err = c.hand(levels[i+1], outer); err != nil {
			return nil, nil, err
		}
		made = append(made, slices.Sorted(maps.Values(outer))...)
	}
	return values, made, nil
}

// wants is what a call needs to hand on what is wanted.
func (c SecretCall) wants(inner secretSet) secretSet {
	if c.Inherit {
		return inner
	}
	var parts []proto.Message
	for _, e := range c.Entries {
		if inner.has(e.GetName()) {
			parts = append(parts, e)
		}
	}
	var outer secretSet
	outer.names, outer.all = resolve.SecretNames(parts...)
	return outer
}

// hand evaluates what a call gives.
func (c SecretCall) hand(inner secretSet, outer map[string]string) (map[string]string, error) {
	contexts, err := expr.FromJSON([]byte(c.Contexts))
	if err != nil || contexts.Object() == nil {
		return nil, fmt.Errorf("the contexts of a call are no JSON object: %w", err)
	}
	contexts.Object().Set("secrets", secretsContext(outer))
	out := map[string]string{}
	for _, e := range c.Entries {
		if !inner.has(e.GetName()) {
			continue
		}
		text, err := resolve.String(e.GetValue(), &expr.Env{Contexts: contexts.Object()})
		if err != nil {
			return nil, rpcerr.New(rpcerr.InvalidRequest, "secrets.%s of a call: %v", e.GetName(), resolve.WithoutSecrets(e.GetValue(), err))
		}
		if text != "" {
			out[strings.ToUpper(e.GetName())] = text
		}
	}
	return out, nil
}

func secretsContext(values map[string]string) expr.Value {
	o := expr.NewObject()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		o.Set(name, expr.String(values[name]))
	}
	return o.Value()
}

// AttemptSecrets implements Control.
func (e *Engine) AttemptSecrets(ctx context.Context, ref AttemptRef) (SecretUse, error) {
	var out SecretUse
	err := e.ask(ctx, func(reply func(error)) {
		r := e.runs[ref.RunID]
		if r == nil || r.jobs[ref.JobID] == nil {
			reply(rpcerr.New(rpcerr.PermissionDenied, "attempt %s: its run is over", ref.AttemptID))
			return
		}
		if !ref.Secrets {
			reply(nil)
			return
		}
		var err error
		out, err = e.secretUse(r, r.jobs[ref.JobID].rec)
		reply(err)
	})
	if err != nil {
		return SecretUse{}, err
	}
	return out, nil
}

// secretUse of a job, as far as its pool is not in the way.
func (e *Engine) secretUse(r *run, rec *statev1.JobRecord) (SecretUse, error) {
	if FromFork(r.def.GetEvent(), r.contexts) {
		return SecretUse{}, nil
	}
	sc := r.scope(rec)
	u := SecretUse{Project: r.def.GetProject()}
	u.Names, u.All = r.secretNames(sc, rec.GetKey())
	for ; sc.id != ""; sc = sc.parent {
		call := sc.parent.graph.Job(sc.key).GetCall()
		c := SecretCall{Inherit: call.GetInheritSecrets(), Entries: call.GetSecrets()}
		if !c.Inherit {
			w, err := e.wantsNow(r, r.jobs[sc.id].rec)
			if err != nil {
				return SecretUse{}, rpcerr.New(rpcerr.Internal, "the call %s: %v", sc.id, err)
			}
			// A copy: what the engine has of them is for its own goroutine.
			c.Contexts = expr.ToJSON(w.contexts.Value())
		}
		u.Calls = append(u.Calls, c)
	}
	slices.Reverse(u.Calls)
	return u, nil
}

// secretNames are the secrets that a job's values, or its workflow's env, refer to.
func (r *run) secretNames(sc *scope, key string) (names []string, all bool) {
	env := r.plan.GetEnv()
	if sc.workflow != nil {
		env = sc.workflow.GetEnv()
	}
	parts := []proto.Message{sc.graph.Job(key)}
	for _, e := range env {
		parts = append(parts, e)
	}
	return resolve.SecretNames(parts...)
}

// needsSecrets is whether an attempt has to get secrets before it begins. One that may have none sees them empty.
func (e *Engine) needsSecrets(r *run, rec *statev1.JobRecord, pool string) bool {
	if !e.c.Pools[pool].Secrets() || FromFork(r.def.GetEvent(), r.contexts) {
		return false
	}
	names, all := r.secretNames(r.scope(rec), rec.GetKey())
	return all || len(names) > 0
}

// FromFork is whether a run is of a pull request from another repository: strangers' code, which is given no secret whatever runs it. Of
// pull_request_target, as on GitHub, the workflow is the target's own. contexts are those of Contexts.
func FromFork(name string, contexts *expr.Object) bool {
	if !strings.HasPrefix(name, "pull_request") || name == "pull_request_target" {
		return false
	}
	github, _ := contexts.Get("github")
	pr := github.Get("event").Get("pull_request")
	head := pr.Get("head")
	if head.Object() == nil {
		return false // the payload says nothing of a head: whoever submitted it has the repository
	}
	repo, given := head.Object().Get("repo")
	if !given {
		return false
	}
	from, to := repo.Get("full_name").Text(), pr.Get("base").Get("repo").Get("full_name").Text()
	// A fork that was deleted is null.
	return repo.IsNull() || !strings.EqualFold(from, to)
}
