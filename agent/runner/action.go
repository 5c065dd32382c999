package runner

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/agent/commands"
	"github.com/slipway-ci/slipway/agent/state"
	"github.com/slipway-ci/slipway/agent/workspace"
	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/resolve"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// A composite action is an entry that runs while the entries behind it do, up to its last one: they have logs, files and records of their own, and a
// process that takes the attempt up goes on with the one that ran. What they see of the action is its frame.

// frame is what a composite action was given when it began. It lies beside the steps' values, because it may hold secrets.
type frame struct {
	Name   string          `json:"name"`
	Inputs []commands.Pair `json:"inputs,omitempty"`
	// Env of the step that uses it, and of those around that.
	Env []commands.Pair `json:"env,omitempty"`
	// UntilMS is when its time, or that of one around it, is over, in milliseconds of the host's wall clock; 0 is never.
	UntilMS int64 `json:"until_ms,omitempty"`
}

func frameFile(n uint32) string { return fmt.Sprintf("action-%d.json", n) }

// errActionTimedOut fails what would begin in an action whose time is over.
var errActionTimedOut = errors.New("the action that the step belongs to ran longer than its timeout-minutes")

// loadFrames reads those of the actions that have begun.
func (t *Attempt) loadFrames() error {
	for _, s := range t.p.Steps {
		if !t.isAction(s.Number) {
			continue
		}
		f := &frame{}
		err := t.dirs.ReadPrivate(frameFile(s.Number), f)
		if errors.Is(err, fs.ErrNotExist) && s.State != corev1.StepState_STEP_STATE_RUNNING {
			continue // it ended before it began
		}
		if err != nil {
			return err
		}
		t.frames[s.Number] = f
	}
	return nil
}

func (t *Attempt) isAction(n uint32) bool {
	e, ok := t.entry(n)
	return ok && e.kind == kindAction
}

// openAction is the innermost composite action that runs.
func (t *Attempt) openAction() (entry, *state.Step, bool) {
	for _, s := range slices.Backward(t.p.Steps) {
		if s.State == corev1.StepState_STEP_STATE_RUNNING && t.isAction(s.Number) {
			return t.entries[s.Number-1], s, true
		}
	}
	return entry{}, nil, false
}

// covered is the number of the last entry that is behind us, with the record that came last: of an action that never began, that of its last step.
func (t *Attempt) covered(last *state.Step) uint32 {
	if e, ok := t.entry(last.Number); ok && e.kind == kindAction && last.State != corev1.StepState_STEP_STATE_RUNNING {
		return e.last
	}
	return last.Number
}

// beginAction evaluates what a composite action is given, once, and opens it. Its own log says what that is.
func (t *Attempt) beginAction(ctx context.Context, e entry, name string, env []commands.Pair) error {
	f, err := t.makeFrame(e, name, env)
	if err == nil {
		err = t.checkAction(e)
	}
	if err != nil {
		return t.failBefore(e, name, err)
	}
	if err := t.dirs.WritePrivate(frameFile(e.number), f); err != nil {
		return err
	}
	rec, l, err := t.begin(e.number, name, idOf(e))
	if err != nil {
		return err
	}
	out, err := t.openLines(e.number)
	if err != nil {
		return err
	}
	describe(out, e.step.GetAction().GetUses(), f.Inputs)
	out.Close()
	// What the lines hold is data: commands among them are none.
	_, err = t.endLog(rec, l)
	if ctx.Err() != nil {
		return stopReason(ctx)
	}
	if err != nil {
		return fmt.Errorf("runner: the log of step %d: %w", e.number, err)
	}
	t.frames[e.number] = f
	t.save()
	return nil
}

func describe(out *lines, uses string, inputs []commands.Pair) {
	out.Printf("Run %s", uses)
	for i, p := range inputs {
		if i == 0 {
			out.Printf("with:")
		}
		out.Printf("  %s: %s", p.Name, strings.ReplaceAll(strings.TrimRight(p.Value, "\n"), "\n", "\n    "))
	}
}

func (t *Attempt) makeFrame(e entry, name string, env []commands.Pair) (*frame, error) {
	own, err := t.ownEnv(e, t.envOf(e))
	if err != nil {
		return nil, err
	}
	inputs, err := t.actionInputs(e, env)
	if err != nil {
		return nil, err
	}
	limit, err := t.stepLimit(e, t.scope.of(e, env))
	if err != nil {
		return nil, err
	}
	f := &frame{Name: name, Inputs: inputs, Env: own}
	if outer := t.frames[e.within]; outer != nil {
		f.Env = commands.Merge(slices.Clone(outer.Env), own...)
	}
	if limit > 0 {
		f.UntilMS = t.d.Clock.Now().Add(limit).UnixMilli()
	}
	return f, nil
}

// actionInputs are what a step gives to its action, and the defaults of the rest. Nothing is required, as on GitHub.
func (t *Attempt) actionInputs(e entry, env []commands.Pair) ([]commands.Pair, error) {
	a, scope := e.step.GetAction(), t.scope.of(e, env)
	with, err := resolve.Entries(a.GetWith(), scope)
	if err != nil {
		return nil, fmt.Errorf("with: %w", err)
	}
	all := pairsOf(with)
	for _, in := range a.GetInputs() {
		if slices.ContainsFunc(all, func(p commands.Pair) bool { return strings.EqualFold(p.Name, in.GetName()) }) {
			continue
		}
		v, err := resolve.String(in.GetDefault(), scope)
		if err != nil {
			return nil, fmt.Errorf("the default of the input %s of %s: %w", in.GetName(), a.GetUses(), err)
		}
		all = append(all, commands.Pair{Name: in.GetName(), Value: v})
	}
	return all, nil
}

// maxMetadata bounds an action's own file, as the reader of the language does.
const maxMetadata = 1 << 20

// checkAction looks whether the workspace has the action that the plan speaks of.
func (t *Attempt) checkAction(e entry) error {
	a := e.step.GetAction()
	file := path.Join(a.GetPath(), a.GetFile())
	data, err := workspace.ReadLimited(t.trees[0].Root, file, maxMetadata)
	switch sum := sha256.Sum256(data); {
	case err != nil:
		return fmt.Errorf("the action %s can't be read: %w", a.GetUses(), err)
	case len(data) == 0:
		return fmt.Errorf("the workspace has no %s, so that %s can't run: is actions/checkout missing before this step?", file, a.GetUses())
	case hex.EncodeToString(sum[:]) != a.GetDigest():
		return fmt.Errorf("the workspace's %s is not the one that the run was planned with: a step before this one has changed it, and an action can't change while the run goes on", file)
	}
	return nil
}

// endAction computes a composite action's outputs, and ends it as its steps have.
func (t *Attempt) endAction(e entry, rec *state.Step) {
	x := t.actionEnding(e)
	if soft, _ := t.ending(); soft && x.outcome == corev1.Result_RESULT_SUCCESS && t.skippedIn(e.number) && !t.holdsNow(e) {
		// The cancel came between two steps.
		x.outcome = corev1.Result_RESULT_CANCELLED
	}
	env := t.envOf(e)
	if own, err := t.stepEnv(e, env); err == nil {
		env = own
	}
	outputs, err := resolve.Entries(e.step.GetAction().GetComposite().GetOutputs(), t.scope.inside(e.number, e.number, env))
	if err != nil {
		x.failed(codeStepFailed, user, "the outputs of %s can't be evaluated: %v", e.step.GetAction().GetUses(), err)
		x.extra = append(x.extra, state.Annotation{Level: "error", Message: x.failure.Message})
	}
	x.values.Outputs = pairsOf(outputs)
	lenient := x.outcome == corev1.Result_RESULT_FAILURE && t.lenient(e, &x)
	t.endWith(rec, x, lenient)
}

// actionEnding is what an action's steps make of it: the worst of them counts, and the first that failed says why.
func (t *Attempt) actionEnding(e entry) ending {
	x := ending{outcome: corev1.Result_RESULT_SUCCESS}
	for _, s := range t.p.Steps {
		inner, ok := t.entry(s.Number)
		if !ok || inner.within != e.number || inner.kind == kindPost {
			continue
		}
		switch s.Conclusion {
		case corev1.Result_RESULT_CANCELLED:
			x.outcome = corev1.Result_RESULT_CANCELLED
		case corev1.Result_RESULT_FAILURE:
			if x.outcome == corev1.Result_RESULT_SUCCESS {
				x.outcome = corev1.Result_RESULT_FAILURE
			}
		case corev1.Result_RESULT_SUCCESS, corev1.Result_RESULT_SKIPPED, corev1.Result_RESULT_UNSPECIFIED:
			continue
		default:
			continue
		}
		if x.failure == nil && s.Failure != nil {
			name := strings.TrimPrefix(s.Name, t.values.public(t.frames[e.number].Name, maxName)+nameSeparator)
			x.failure = &state.Failure{Code: s.Failure.Code, Fault: s.Failure.Fault, Message: fmt.Sprintf("its step %q: %s", name, s.Failure.Message)}
		}
	}
	return x
}

// skippedIn says whether a step of a composite action was skipped.
func (t *Attempt) skippedIn(n uint32) bool {
	return slices.ContainsFunc(t.p.Steps, func(s *state.Step) bool {
		e, ok := t.entry(s.Number)
		return ok && e.within == n && s.Conclusion == corev1.Result_RESULT_SKIPPED
	})
}

// leaveActions ends those that still run when the job can't go on.
func (t *Attempt) leaveActions() {
	for {
		_, rec, ok := t.openAction()
		if !ok {
			return
		}
		x := ending{}
		x.failed(codeStepFailed, user, "the job ended inside it")
		t.endWith(rec, x, false)
	}
}

// statusIn is what success() and failure() look at: inside a composite action that action's steps, else the job. An action that has to stop, because
// the job is ending and its own `if` does not hold any more, is cancelled.
func (t *Attempt) statusIn(within uint32) string {
	if within == 0 {
		return t.status()
	}
	e := t.entries[within-1]
	if soft, _ := t.ending(); soft && !t.holdsNow(e) {
		return "cancelled"
	}
	return word(t.actionEnding(e).outcome)
}

// inAction sets the contexts that differ inside a composite action.
func (t *Attempt) inAction(all *expr.Object, within uint32) {
	inputs := expr.NewObject()
	if f := t.frames[within]; f != nil {
		for _, p := range f.Inputs {
			inputs.Set(p.Name, expr.String(p.Value))
		}
	}
	all.Set("inputs", inputs.Value())
	github := expr.NewObject()
	if o := all.Value().Get("github").Object(); o != nil {
		github = expr.NewObject(o.Pairs()...)
	}
	github.Set("action_path", expr.String(t.actionPath(t.entries[within-1].step.GetAction())))
	all.Set("github", github.Value())
}

// actionPath is an action's directory as its steps see it.
func (t *Attempt) actionPath(a *planv1.Action) string {
	return path.Join(t.paths.Workspace, a.GetPath())
}

// actionVars are the variables that tell a process of the action that it belongs to.
func (t *Attempt) actionVars(e entry) []commands.Pair {
	a := e.step.GetAction()
	if a == nil && e.within != 0 {
		a = t.entries[e.within-1].step.GetAction()
	}
	if a == nil {
		return nil
	}
	return []commands.Pair{{Name: "GITHUB_ACTION_PATH", Value: t.actionPath(a)}}
}

// envOf is what an entry's own `env:` goes over: workflow < job < GITHUB_ENV < the steps that use the actions around it.
func (t *Attempt) envOf(e entry) []commands.Pair {
	env := t.envSoFar()
	if f := t.frames[e.within]; f != nil {
		env = commands.Merge(env, f.Env...)
	}
	return env
}

// stepLimit is how long a step may run by its own `timeout-minutes` and those of the actions around it; 0 is without a limit.
func (t *Attempt) stepLimit(e entry, scope *expr.Env) (time.Duration, error) {
	minutes, err := resolve.TimeoutMinutes(e.step.GetTimeoutMinutes(), scope, 0)
	if err != nil || e.kind == kindPost {
		return 0, err
	}
	limit := minutesOf(minutes)
	if f := t.frames[e.within]; f != nil && f.UntilMS != 0 {
		// The supervisor takes 0 for no limit.
		left := max(time.Millisecond, time.UnixMilli(f.UntilMS).Sub(t.d.Clock.Now()))
		if limit == 0 || left < limit {
			limit = left
		}
	}
	return limit, nil
}

// pastDeadline says whether the time of an action around the entry is over.
func (t *Attempt) pastDeadline(e entry) bool {
	f := t.frames[e.within]
	return f != nil && f.UntilMS != 0 && t.d.Clock.Now().UnixMilli() >= f.UntilMS
}
