package runner

import (
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/agent/commands"
	"github.com/slipway-ci/slipway/agent/podspec"
	"github.com/slipway-ci/slipway/agent/state"
	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/resolve"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// scope is what expressions see. The contexts that never change are parsed once: an event's payload may be large.
type scope struct {
	t *Attempt
	// fixed: github, needs, matrix, strategy, inputs, vars, secrets, runner.
	fixed *expr.Object
	// services is `job.services`.
	services expr.Value
}

func (s *scope) init(t *Attempt) error {
	s.t = t
	text := t.a.GetContexts()
	if text == "" {
		text = "{}"
	}
	v, err := expr.FromJSON([]byte(text))
	if err != nil || v.Object() == nil {
		return fmt.Errorf("runner: the assignment's contexts are no JSON object: %w", err)
	}
	s.fixed = v.Object()
	// A secret that nobody gave is empty, so the context is there in any case.
	for _, name := range []string{"github", "needs", "inputs", "vars", "strategy", "secrets"} {
		if s.fixed.Value().Get(name).Object() == nil {
			s.fixed.Set(name, expr.NewObject().Value())
		}
	}
	if len(t.secrets) > 0 {
		s.fixed.Set("secrets", t.secretsContext())
	}
	github := s.fixed.Value().Get("github").Object()
	github.Set("workspace", expr.String(t.paths.Workspace))
	github.Set("event_path", expr.String(t.paths.Workflow+"/event.json"))
	github.Set("job", expr.String(t.a.GetJob().GetId()))
	s.fixed.Set("runner", expr.NewObject(
		expr.Pair{Key: "name", Value: expr.String(t.d.AgentName)},
		expr.Pair{Key: "os", Value: expr.String("Linux")},
		expr.Pair{Key: "arch", Value: expr.String(runnerArch())},
		expr.Pair{Key: "temp", Value: expr.String(t.paths.Temp)},
		expr.Pair{Key: "tool_cache", Value: expr.String(t.paths.ToolCache)},
		expr.Pair{Key: "workspace", Value: expr.String(path.Dir(t.paths.Workspace))},
		expr.Pair{Key: "environment", Value: expr.String("self-hosted")},
		expr.Pair{Key: "debug", Value: expr.String(map[bool]string{true: "1"}[t.debugs()])},
	).Value())
	s.services = expr.NewObject().Value()
	return nil
}

// debugs says whether the project's variable ACTIONS_STEP_DEBUG asks for the lines of ::debug::.
func (t *Attempt) debugs() bool {
	v := t.scope.fixed.Value().Get("vars").Get("ACTIONS_STEP_DEBUG")
	return v.IsPrimitive() && strings.EqualFold(strings.TrimSpace(v.Text()), "true")
}

func runnerArch() string {
	switch runtime.GOARCH {
	case "amd64":
		return "X64"
	case "386":
		return "X86"
	case "arm64":
		return "ARM64"
	case "arm":
		return "ARM"
	default:
		return runtime.GOARCH
	}
}

// job is what job-level values see: no env, no steps.
func (s *scope) job() *expr.Env { return &expr.Env{Contexts: s.fixed} }

// step is what the values of the job's own steps see, with the environment given.
func (s *scope) step(env []commands.Pair) *expr.Env { return s.inside(0, 0, env) }

// of is what an entry's values see. Inside an action, success() and failure() look at the action; those of post steps look at the job.
func (s *scope) of(e entry, env []commands.Pair) *expr.Env {
	if e.kind == kindPost {
		return s.inside(e.within, 0, env)
	}
	return s.inside(e.within, e.within, env)
}

// inside is what is seen inside a composite action, by its number, with the status functions of another; 0 is the job.
func (s *scope) inside(within, status uint32, env []commands.Pair) *expr.Env {
	all := expr.NewObject(s.fixed.Pairs()...)
	if within != 0 {
		s.t.inAction(all, within)
	}
	e := expr.NewCaseSensitiveObject()
	for _, p := range env {
		e.Set(p.Name, expr.String(p.Value))
	}
	all.Set("env", e.Value())
	all.Set("steps", s.steps(within))
	all.Set("job", expr.NewObject(
		expr.Pair{Key: "status", Value: expr.String(s.t.status())},
		expr.Pair{Key: "services", Value: s.services},
		expr.Pair{Key: "container", Value: expr.NewObject().Value()},
	).Value())
	return &expr.Env{Contexts: all, Functions: s.functions(status)}
}

func (s *scope) functions(within uint32) map[string]expr.Function {
	status := func(want string) expr.Function {
		return func([]expr.Value) (expr.Value, error) { return expr.Bool(s.t.statusIn(within) == want), nil }
	}
	return map[string]expr.Function{
		"success":   status("success"),
		"failure":   status("failure"),
		"cancelled": func([]expr.Value) (expr.Value, error) { return expr.Bool(s.t.status() == "cancelled"), nil },
		"always":    func([]expr.Value) (expr.Value, error) { return expr.Bool(true), nil },
		"hashFiles": func(args []expr.Value) (expr.Value, error) { return s.t.hashFiles(args) },
	}
}

// status is `job.status`: cancelled goes before failure.
func (t *Attempt) status() string {
	switch {
	case t.p.Cancelled || t.p.TimedOut:
		return "cancelled"
	case t.p.Failed:
		return "failure"
	default:
		return "success"
	}
}

// steps has every step with an id that has ended, skipped ones too, of one action or of the job.
func (s *scope) steps(within uint32) expr.Value {
	all := expr.NewObject()
	for _, r := range s.t.p.Steps {
		if e, _ := s.t.entry(r.Number); e.within != within {
			continue
		}
		if r.ID == "" || r.Outcome == corev1.Result_RESULT_UNSPECIFIED {
			continue
		}
		outputs := expr.NewObject()
		if v := s.t.values.steps[r.Number]; v != nil {
			for _, o := range v.Outputs {
				outputs.Set(o.Name, expr.String(o.Value))
			}
		}
		all.Set(r.ID, expr.NewObject(
			expr.Pair{Key: "outputs", Value: outputs.Value()},
			expr.Pair{Key: "outcome", Value: expr.String(word(r.Outcome))},
			expr.Pair{Key: "conclusion", Value: expr.String(word(r.Conclusion))},
		).Value())
	}
	return all.Value()
}

// word is a result as expressions spell it.
func word(r corev1.Result) string {
	switch r {
	case corev1.Result_RESULT_SUCCESS:
		return "success"
	case corev1.Result_RESULT_FAILURE:
		return "failure"
	case corev1.Result_RESULT_CANCELLED:
		return "cancelled"
	case corev1.Result_RESULT_SKIPPED:
		return "skipped"
	case corev1.Result_RESULT_UNSPECIFIED:
		return ""
	default:
		return ""
	}
}

// baseEnv evaluates the workflow's and the job's env, once in each process: it may hold secrets, which are written nowhere.
func (t *Attempt) baseEnv() error {
	if t.values.base.Ready {
		return nil
	}
	workflow, err := resolve.Entries(t.a.GetWorkflowEnv(), t.scope.job())
	if err != nil {
		return fmt.Errorf("env of the workflow: %w", err)
	}
	env := commands.Merge(nil, pairsOf(workflow)...)
	// The job's env sees the workflow's.
	contexts := expr.NewObject(t.scope.fixed.Pairs()...)
	seen := expr.NewCaseSensitiveObject()
	for _, p := range env {
		seen.Set(p.Name, expr.String(p.Value))
	}
	contexts.Set("env", seen.Value())
	job, err := resolve.Entries(t.a.GetJob().GetEnv(), &expr.Env{Contexts: contexts})
	if err != nil {
		return fmt.Errorf("env of job %s: %w", t.a.GetJob().GetId(), err)
	}
	env = commands.Merge(env, pairsOf(job)...)
	t.values.base.Env, t.values.base.Ready = env, true
	return nil
}

// envSoFar is workflow < job < GITHUB_ENV.
func (t *Attempt) envSoFar() []commands.Pair {
	return commands.Merge(slices.Clone(t.values.base.Env), t.values.env...)
}

// jobTimeLeft is what remains of `timeout-minutes`; ok is false if it can't be evaluated, which preparing reports.
func (t *Attempt) jobTimeLeft() (left time.Duration, ok bool) {
	minutes, err := resolve.TimeoutMinutes(t.a.GetJob().GetTimeoutMinutes(), t.scope.job(), 360)
	if err != nil {
		return 0, false
	}
	end := time.UnixMilli(t.p.StartedMS).Add(minutesOf(minutes))
	return max(0, end.Sub(t.d.Clock.Now())), true
}

// minutesOf is bounded, so that a nonsense number does not overflow.
func minutesOf(m float64) time.Duration {
	const most = 365 * 24 * 60
	return time.Duration(min(m, most) * float64(time.Minute))
}

// setServices fills `job.services` in from the pod's specification.
func (t *Attempt) setServices() error {
	spec, err := podspec.Build(t.a, t.dirs, t.scope.job())
	if err != nil {
		return err
	}
	t.scope.services = podspec.Context(spec)
	return nil
}

// record returns the step's record, nil if it has not begun.
func (t *Attempt) record(n uint32) *state.Step {
	for _, s := range t.p.Steps {
		if s.Number == n {
			return s
		}
	}
	return nil
}

// firstOf is the first of several values that says something; "" if none does.
func firstOf(env *expr.Env, values ...*planv1.Value) (string, error) {
	for _, v := range values {
		text, err := resolve.String(v, env)
		if err != nil || text != "" {
			return text, err
		}
	}
	return "", nil
}
