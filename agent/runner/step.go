package runner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/agent/commands"
	"github.com/slipway-ci/slipway/agent/logs"
	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/state"
	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/resolve"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// nextStep begins the next step, or goes on with the one that an earlier process began, and sees it to its end.
func (t *Attempt) nextStep(ctx context.Context) error {
	if t.pod == nil {
		err := t.attach(ctx)
		if ctx.Err() != nil {
			return stopReason(ctx)
		}
		if errors.Is(err, sandbox.ErrNotFound) {
			return t.losePod(err)
		}
		if err != nil {
			return err
		}
	}
	last := t.p.Steps[len(t.p.Steps)-1]
	if last.State == corev1.StepState_STEP_STATE_RUNNING && !t.isAction(last.Number) {
		e, ok := t.entry(last.Number)
		if !ok {
			return fmt.Errorf("runner: attempt %s has a running step %d that its job has not", t.id, last.Number)
		}
		return t.continueStep(ctx, e, last)
	}
	done := t.covered(last)
	if e, rec, ok := t.openAction(); ok && done == e.last {
		t.endAction(e, rec)
		return nil
	}
	e, ok := t.entry(done + 1)
	if !ok {
		t.p.Phase = state.PhaseFinishing
		return nil
	}
	return t.beginStep(ctx, e)
}

// losePod ends an attempt whose pod is gone. A step that ran in it ends with all that it said.
func (t *Attempt) losePod(why error) error {
	last := t.p.Steps[len(t.p.Steps)-1]
	if last.State == corev1.StepState_STEP_STATE_RUNNING && !t.isAction(last.Number) {
		rec, l, err := t.begin(last.Number, last.Name, last.ID)
		if err != nil {
			return err
		}
		x := ending{}
		x.failed(codeLost, system, "the job's pod is gone: %v", why)
		t.end(rec, l, x)
	}
	t.markLost(fmt.Errorf("the job's pod is gone: %w", why))
	return nil
}

// beginStep evaluates what decides whether the step runs, in GitHub's order: env, then if.
func (t *Attempt) beginStep(ctx context.Context, e entry) error {
	began := t.d.Clock.Now()
	if e.kind == kindPost {
		return t.beginPost(ctx, e, began)
	}
	env := t.envOf(e)
	name := t.stepName(e, env)
	env, err := t.stepEnv(e, env)
	if err != nil {
		return t.failBefore(e, name, err)
	}
	holds, err := resolve.Condition(e.step.GetCondition(), t.scope.of(e, env))
	if err != nil {
		return t.failBefore(e, name, fmt.Errorf("if: %w", err))
	}
	if _, hard := t.ending(); hard || !holds {
		t.skip(e, name)
		return nil
	}
	switch {
	case e.step.GetKind() == nil:
		return t.failBefore(e, name, errors.New("this agent does not know what kind of step this is; it is older than the coordinator"))
	case t.pastDeadline(e):
		return t.failBefore(e, name, errActionTimedOut)
	case e.kind == kindAction:
		return t.beginAction(ctx, e, name, env)
	case e.step.GetNative() != nil:
		return t.beginNative(ctx, e, name, env)
	}
	return t.beginRun(ctx, e, name, env, began)
}

func (t *Attempt) skip(e entry, name string) {
	now := t.elapsed()
	t.p.Steps = append(t.p.Steps, &state.Step{
		Number: e.number, Name: t.values.public(name, maxName), ID: idOf(e), State: corev1.StepState_STEP_STATE_SKIPPED,
		Outcome: corev1.Result_RESULT_SKIPPED, Conclusion: corev1.Result_RESULT_SKIPPED, StartedMS: now, EndedMS: now, Masks: len(t.values.masks),
	})
	t.d.Metrics.step("skipped", 0)
}

func idOf(e entry) string {
	if e.kind == kindPost {
		return ""
	}
	return e.step.GetId()
}

// stepName is what people see: of a step inside an action the action's name comes first.
func (t *Attempt) stepName(e entry, env []commands.Pair) string {
	name := ownName(e.step, t.scope.of(e, env), t.values.hide)
	if f := t.frames[e.within]; f != nil {
		return f.Name + nameSeparator + name
	}
	return name
}

// nameSeparator stands between the name of an action and that of its step, as between those of a call and its job.
const nameSeparator = " / "

// ownName is a step's name; one that can't be evaluated is shown as it stands.
func ownName(s *planv1.Step, scope *expr.Env, hide *logs.Masks) string {
	if s.GetName() != nil {
		if name, err := resolve.String(s.GetName(), scope); err == nil && strings.TrimSpace(name) != "" {
			return name
		}
	}
	if n := s.GetNative(); n != nil {
		return "Run " + n.GetUses()
	}
	if a := s.GetAction(); a != nil {
		return "Run " + a.GetUses()
	}
	script, err := resolve.String(s.GetRun().GetScript(), scope)
	if err != nil {
		return "Run " + s.GetRun().GetScript().GetExpr()
	}
	return display(hide.Hide(script))
}

func (t *Attempt) stepEnv(e entry, env []commands.Pair) ([]commands.Pair, error) {
	own, err := t.ownEnv(e, env)
	if err != nil {
		return nil, err
	}
	return commands.Merge(env, own...), nil
}

// ownEnv is a step's `env:`.
func (t *Attempt) ownEnv(e entry, env []commands.Pair) ([]commands.Pair, error) {
	pairs, err := resolve.Entries(e.step.GetEnv(), t.scope.of(e, env))
	if err != nil {
		return nil, fmt.Errorf("env: %w", err)
	}
	return pairsOf(pairs), nil
}

// failBefore ends a step that could not begin.
func (t *Attempt) failBefore(e entry, name string, why error) error {
	rec, l, err := t.begin(e.number, name, idOf(e))
	if err != nil {
		return err
	}
	out, err := t.openLines(e.number)
	if err != nil {
		return err
	}
	defer out.Close()
	out.Printf("Error: %v", why)
	code := codeStepFailed
	if errors.Is(why, errActionTimedOut) {
		code = codeTimedOut
	}
	t.endEntry(e, rec, l, ending{
		outcome: corev1.Result_RESULT_FAILURE,
		failure: &state.Failure{Code: code, Fault: user, Message: why.Error()},
	})
	return nil
}

// holdsNow evaluates a running step's `if` again, as a cancellation does: true lets it run on.
func (t *Attempt) holdsNow(e entry) bool {
	env, err := t.stepEnv(e, t.envOf(e))
	if err != nil {
		return e.kind == kindPost
	}
	condition := e.step.GetCondition()
	if e.kind == kindPost {
		condition = postCondition(e.step)
	}
	holds, err := resolve.Condition(condition, t.scope.of(e, env))
	return err == nil && holds
}

// mustStop applies notices to a running step.
func (t *Attempt) mustStop(e entry) bool {
	t.takeNotices()
	soft, hard := t.ending()
	return hard || soft && !t.holdsNow(e)
}

// ending is how a step ended.
type ending struct {
	outcome  corev1.Result
	exitCode int32
	failure  *state.Failure
	values   stepValues
	extra    []state.Annotation
	// tries it took; 0 is one.
	tries int
}

func (x *ending) failed(code string, fault corev1.Fault, format string, args ...any) {
	x.outcome = corev1.Result_RESULT_FAILURE
	if x.failure == nil {
		x.failure = &state.Failure{Code: code, Fault: fault, Message: fmt.Sprintf(format, args...)}
	}
}

// endEntry ends a step of the plan: continue-on-error applies.
func (t *Attempt) endEntry(e entry, rec *state.Step, l *logs.Step, x ending) {
	hidden := t.takeOutput(rec, l, &x)
	lenient := false
	if x.outcome == corev1.Result_RESULT_FAILURE && e.kind != kindPost {
		lenient = t.lenient(e, &x)
	}
	t.spent = append(t.spent, e.number)
	t.endWith(rec, x, lenient && !hidden)
}

// lenient is a step's `continue-on-error`.
func (t *Attempt) lenient(e entry, x *ending) bool {
	lenient, err := resolve.Bool(e.step.GetContinueOnError(), t.scope.of(e, t.envOf(e)), false)
	if err != nil {
		x.extra = append(x.extra, state.Annotation{Level: "error", Message: "continue-on-error: " + err.Error()})
	}
	return lenient
}

func (t *Attempt) end(rec *state.Step, l *logs.Step, x ending) {
	t.takeOutput(rec, l, &x)
	t.endWith(rec, x, false)
}

// takeOutput closes a step's log and takes what it says. hidden: there were too many masks, which nothing makes good.
func (t *Attempt) takeOutput(rec *state.Step, l *logs.Step, x *ending) (hidden bool) {
	result, err := t.endLog(rec, l)
	if err != nil {
		t.log.Error("a step's output can't be read", "step", rec.Number, "error", err)
		x.failed(codeInternal, system, "the step's output can't be read: %v", err)
	}
	x.extra = append(t.fromOutput(result.Commands, x), x.extra...)
	if result.Dropped {
		x.failed(codeStepFailed, user, "the step printed too many ::set-output or ::save-state commands; put large things into a file")
	}
	if result.Hidden {
		// Later steps could print what this one wanted to hide, so there are none.
		x.failed(codeTooMany, user, "%s", logs.TooMany)
		t.p.Hidden, t.p.Phase = true, state.PhaseFinishing
	}
	return result.Hidden
}

// endWith notes everything that a step left. The next save records it.
func (t *Attempt) endWith(rec *state.Step, x ending, lenient bool) {
	rec.Tries = uint32(max(x.tries, 0))
	rec.Annotations = x.extra
	if t.values.size+x.values.size() > maxKept {
		x.failed(codeStepFailed, user, "the steps of the job hand on more than %d MiB (outputs, environment, summaries); put large things into files", maxKept>>20)
		x.values = stepValues{Masks: x.values.Masks}
	}
	if err := t.keep(rec.Number, &x.values); err != nil {
		t.log.Error("what a step left can't be kept", "step", rec.Number, "error", err)
		x.failed(codeInternal, system, "what the step left can't be kept: %v", err)
	}
	// The step may have hidden what its own name holds.
	rec.Name = t.values.public(rec.Name, maxName)
	t.publish(rec)
	rec.Outcome, rec.Conclusion, rec.ExitCode, rec.EndedMS = x.outcome, x.outcome, x.exitCode, t.elapsed()
	if x.outcome == corev1.Result_RESULT_FAILURE && lenient {
		rec.Conclusion = corev1.Result_RESULT_SUCCESS
	}
	rec.State = stateOf(rec.Conclusion)
	if x.failure != nil {
		x.failure.Message = t.values.public(x.failure.Message, maxMessage)
		rec.Failure = x.failure
	}
	if rec.Conclusion == corev1.Result_RESULT_FAILURE {
		t.failStep(rec)
	}
	t.log.Debug("step ended", "step", rec.Number, "conclusion", word(rec.Conclusion), "exit_code", rec.ExitCode, "ms", rec.EndedMS-rec.StartedMS)
	t.d.Metrics.step(word(rec.Conclusion), time.Duration(rec.EndedMS-rec.StartedMS)*time.Millisecond)
}

// maxAnnotations of an attempt are reported.
const maxAnnotations = 200

// publish makes a step's annotations fit for a report.
func (t *Attempt) publish(rec *state.Step) {
	left := maxAnnotations
	for _, s := range t.p.Steps {
		if s != rec {
			left -= len(s.Annotations)
		}
	}
	rec.Annotations = rec.Annotations[:min(len(rec.Annotations), max(0, left))]
	for i := range rec.Annotations {
		a := &rec.Annotations[i]
		a.Message, a.Title, a.File = t.values.public(a.Message, maxMessage), t.values.public(a.Title, maxName), t.values.public(a.File, maxName)
	}
}

// failStep lets a step's failure be the job's. That of a step inside an action is the action's to tell.
func (t *Attempt) failStep(rec *state.Step) {
	if e, _ := t.entry(rec.Number); e.within != 0 && e.kind != kindPost && !t.p.Hidden {
		return
	}
	if rec.Failure == nil {
		t.fail(codeStepFailed, user, fmt.Sprintf("step %q failed", rec.Name))
		return
	}
	t.fail(rec.Failure.Code, rec.Failure.Fault, fmt.Sprintf("step %q: %s", rec.Name, rec.Failure.Message))
}

func stateOf(r corev1.Result) corev1.StepState {
	switch r {
	case corev1.Result_RESULT_SUCCESS:
		return corev1.StepState_STEP_STATE_SUCCEEDED
	case corev1.Result_RESULT_CANCELLED:
		return corev1.StepState_STEP_STATE_CANCELLED
	case corev1.Result_RESULT_SKIPPED:
		return corev1.StepState_STEP_STATE_SKIPPED
	case corev1.Result_RESULT_FAILURE, corev1.Result_RESULT_UNSPECIFIED:
		return corev1.StepState_STEP_STATE_FAILED
	default:
		return corev1.StepState_STEP_STATE_FAILED
	}
}

// fromOutput applies the workflow commands that a step printed, and returns its annotations.
func (t *Attempt) fromOutput(all []commands.Command, x *ending) []state.Annotation {
	v := &x.values
	var out []state.Annotation
	var outputs, saved []commands.Pair
	known := map[string]bool{}
	for _, m := range t.values.masks {
		known[m] = true
	}
	for _, c := range all {
		pair := commands.Pair{Name: c.Properties["name"], Value: c.Value}
		refused := c.Refused()
		switch {
		case refused != "":
			out = append(out, state.Annotation{Level: "error", Message: refused})
			x.failed(codeStepFailed, user, "%s", refused)
		case c.Name == "add-mask" && len(commands.Masks(c.Value)) == 0:
			out = append(out, state.Annotation{Level: "warning", Message: "The value of ::add-mask:: is blank: nothing is hidden."})
		case c.Name == "add-mask":
			if !known[c.Value] {
				known[c.Value] = true
				v.Masks = append(v.Masks, []byte(c.Value))
			}
		case c.Name == "set-output":
			outputs = append(outputs, pair)
		case c.Name == "save-state":
			saved = append(saved, pair)
		default:
			if a, ok := c.Annotation(); ok {
				out = append(out, state.Annotation{Level: a.GetLevel(), Message: a.GetMessage(), Title: a.GetTitle(), File: a.GetFile(), Line: a.GetLine(), Column: a.GetColumn()})
			}
		}
	}
	// The files are read when the step has ended, so they have the last word.
	v.Outputs, v.State = commands.Merge(outputs, v.Outputs...), commands.Merge(saved, v.State...)
	return out
}
