package engine

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// use is which secrets an attempt may be given.
func (r *rig) use(agent string, as *fleetv1.Assignment) SecretUse {
	r.t.Helper()
	ref, err := r.Attempt(r.ctx(), agent, as.GetAttemptId(), as.GetToken())
	if err != nil {
		r.t.Fatal(err)
	}
	u, err := r.AttemptSecrets(r.ctx(), ref)
	if err != nil {
		r.t.Fatal(err)
	}
	return u
}

// TestAnAttemptIsGivenWhatItsJobRefersTo, unless its pool or its run may have none.
func TestAnAttemptIsGivenWhatItsJobRefersTo(t *testing.T) {
	const same, fork = `{"pull_request": {"head": {"repo": {"full_name": "team/app"}}, "base": {"repo": {"full_name": "Team/App"}}}}`,
		`{"pull_request": {"head": {"repo": {"full_name": "stranger/app"}}, "base": {"repo": {"full_name": "team/app"}}}}`
	for _, tt := range []struct {
		isolation, event, payload, value string
		want                             bool
		names                            []string
		all                              bool
	}{
		{"", "push", "", "secrets.token", true, []string{"TOKEN"}, false},
		{"", "push", "", "toJSON(secrets)", true, nil, true},
		{"", "push", "", "github.sha", false, nil, false},
		{config.IsolationUntrusted, "push", "", "secrets.token", false, nil, false},
		{"", "pull_request", same, "secrets.token", true, []string{"TOKEN"}, false},
		{"", "pull_request", `{"pull_request": {"head": {"ref": "x"}}}`, "secrets.token", true, []string{"TOKEN"}, false},
		{"", "pull_request", fork, "secrets.token", false, nil, false},
		{"", "pull_request", `{"pull_request": {"head": {"repo": null}}}`, "secrets.token", false, nil, false},
		{"", "pull_request_review", fork, "secrets.token", false, nil, false},
		{"", "pull_request_target", fork, "secrets.token", true, []string{"TOKEN"}, false},
	} {
		r := newRig(t)
		r.pools(map[string]config.Pool{"default": {Isolation: tt.isolation}})
		a := r.agentThatCan("a1", &fleetv1.Abilities{Isolation: map[string]string{"untrusted": ""}})
		p := plan(job("build"))
		p.Jobs[0].Env = []*planv1.Entry{entry("X", ex(tt.value))}
		s := r.submission(p)
		s.Event, s.EventPayload = tt.event, tt.payload
		if _, _, err := r.Submit(r.ctx(), s); err != nil {
			t.Fatal(err)
		}
		as := a.offer()
		u := r.use("a1", as)
		if as.GetSecrets() != tt.want || u.All && !tt.all || tt.want && (u.Project != "team/app" || !slices.Equal(u.Names, tt.names)) || !tt.want && len(u.Names) > 0 {
			t.Errorf("%+v: told %v, use %+v", tt, as.GetSecrets(), u)
		}
	}
}

// TestCallsDecideWhatTheirWorkflowsSee, also for the next leader.
func TestCallsDecideWhatTheirWorkflowsSee(t *testing.T) {
	r := newRig(t)
	a := r.agent("a1", 9)
	outer := legs(callOf("outer", "middle.yml"), 2)
	outer.Call.Secrets = []*planv1.Entry{entry("given", ex("format('{0}-{1}', secrets.of_caller, matrix.node)")), entry("unused", ex("secrets.other"))}
	inner := callOf("inner", "inner.yml")
	inner.Call.InheritSecrets = true
	last := job("last")
	last.Env = []*planv1.Entry{entry("X", ex("format('{0}{1}', secrets.GIVEN, secrets.of_caller)"))}
	p := plan(outer)
	p.Workflows = []*planv1.Workflow{{Path: "middle.yml", Jobs: []*planv1.Job{inner}}, {Path: "inner.yml", Jobs: []*planv1.Job{last}}}
	r.submit(p)
	got := map[string]string{}
	for range 2 {
		as := a.offer()
		r.restart()
		a.connect(as.GetAttemptId())
		u := r.use("a1", as)
		var asked []string
		values, made, err := u.Resolve(func(want func(string) bool) (map[string]string, error) {
			out := map[string]string{}
			for _, name := range []string{"GIVEN", "OF_CALLER", "OTHER"} {
				if want(name) {
					asked = append(asked, name)
					out[name] = "value of " + name
				}
			}
			return out, nil
		})
		if err != nil || !as.GetSecrets() || strings.Join(asked, " ") != "OF_CALLER" || fmt.Sprint(made) != "[value of OF_CALLER]" {
			t.Errorf("asked for %v, made from %v, %v", asked, made, err)
		}
		got[as.GetJobName()] = fmt.Sprint(values)
	}
	want := map[string]string{"outer (20) / inner / last": "map[GIVEN:value of OF_CALLER-20]", "outer (21) / inner / last": "map[GIVEN:value of OF_CALLER-21]"}
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestARunKeepsItsVariables: also a later attempt of it, and for the next leader.
func TestARunKeepsItsVariables(t *testing.T) {
	r := newRig(t)
	a := r.agent("a1", 9)
	p := plan(job("build"))
	p.RunName = ex("format('in {0}', vars.region)")
	s := r.submission(p)
	s.Vars = map[string]string{"REGION": "eu", "EMPTY": ""}
	id, _, err := r.Submit(r.ctx(), s)
	if err != nil {
		t.Fatal(err)
	}
	r.restart()
	a.connect()
	for range 2 {
		as := a.offer()
		if got := fmt.Sprint(contextOf(t, as)["vars"]); got != "map[EMPTY: REGION:eu]" {
			t.Errorf("vars are %s", got)
		}
		if name := r.run(as.GetRunId()).GetName(); name != "in eu" {
			t.Errorf("the run is called %q", name)
		}
		a.finish(as.GetAttemptId(), success)
		if as.GetRunId() == id {
			if _, err := r.Rerun(r.ctx(), RerunRequest{RequestID: r.ids.New(), Run: id}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestWhyACallCanNotHandASecretOnQuotesNone: an agent reports it, and the audit log has it.
func TestWhyACallCanNotHandASecretOnQuotesNone(t *testing.T) {
	for _, tt := range []struct{ value, want string }{
		{"fromJSON(secrets.bundle).token", "secrets.token of a call: the expression can't be evaluated"},
		{"fromJSON(inputs.text)", "`plain` is not JSON"},
	} {
		u := SecretUse{Names: []string{"TOKEN"}, Calls: []SecretCall{{Entries: []*planv1.Entry{entry("token", ex(tt.value))}, Contexts: `{"inputs": {"text": "plain"}}`}}}
		_, _, err := u.Resolve(func(func(string) bool) (map[string]string, error) { return map[string]string{"BUNDLE": "planted"}, nil })
		if rpcerr.ReasonOf(err) != rpcerr.InvalidRequest || !strings.Contains(rpcerr.Message(err), tt.want) || strings.Contains(err.Error(), "planted") {
			t.Errorf("%s: %v", tt.value, err)
		}
	}
}
