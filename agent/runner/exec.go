package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	"github.com/slipway-ci/slipway/agent/commands"
	"github.com/slipway-ci/slipway/agent/logs"
	"github.com/slipway-ci/slipway/agent/podspec"
	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/state"
	"github.com/slipway-ci/slipway/agent/workspace"
	"github.com/slipway-ci/slipway/pipeline/resolve"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// maxFileCommand bounds what is read of one command file; a summary may be GitHub's 1 MiB.
const (
	maxFileCommand = 16 << 20
	maxSummary     = 1 << 20
)

// beginRun writes everything that the step needs, records the intention, and starts it.
func (t *Attempt) beginRun(ctx context.Context, e entry, name string, env []commands.Pair, began time.Time) error {
	spec, err := t.runSpec(ctx, e, env)
	if ctx.Err() != nil {
		return stopReason(ctx)
	}
	if err != nil {
		return t.failBefore(e, name, err)
	}
	rec, l, err := t.begin(e.number, name, idOf(e))
	if err != nil {
		return err
	}
	if err := t.dirs.WritePrivate(specFile(e.number), spec); err != nil {
		return err
	}
	t.save()
	t.d.Metrics.overhead(t.d.Clock.Now().Sub(began))
	return t.awaitRun(ctx, e, rec, l, spec)
}

// runSpec evaluates a step that is a process, and writes its script and command files.
func (t *Attempt) runSpec(ctx context.Context, e entry, env []commands.Pair) (sandbox.StepSpec, error) {
	if e.step.GetAction() != nil {
		return t.nodeSpec(ctx, e, env)
	}
	scope, job := t.scope.of(e, env), t.a.GetJob()
	shells := []*planv1.Value{e.step.GetRun().GetShell(), job.GetDefaults().GetShell(), t.a.GetWorkflowDefaults().GetShell()}
	dirs := []*planv1.Value{e.step.GetWorkingDirectory(), job.GetDefaults().GetWorkingDirectory(), t.a.GetWorkflowDefaults().GetWorkingDirectory()}
	if e.within != 0 {
		shells, dirs = shells[:1], dirs[:1] // defaults do not enter actions
	}
	var texts [4]string
	for i, v := range []*struct {
		key string
		get func() (string, error)
	}{
		{"run", func() (string, error) { return resolve.String(e.step.GetRun().GetScript(), scope) }},
		{"shell", func() (string, error) { return firstOf(scope, shells...) }},
		{"working-directory", func() (string, error) { return firstOf(scope, dirs...) }},
	} {
		text, err := v.get()
		if err != nil {
			return sandbox.StepSpec{}, fmt.Errorf("%s: %w", v.key, err)
		}
		texts[i] = text
	}
	limit, err := t.stepLimit(e, scope)
	if err != nil {
		return sandbox.StepSpec{}, err
	}
	image, err := podspec.StepImage(t.a, e.step, t.scope.job())
	if err != nil {
		return sandbox.StepSpec{}, err
	}
	inContainer := job.GetContainer() != nil || image != ""
	argv, script, err := command(texts[1], inContainer, t.commandsDir(e.number))
	if err != nil {
		return sandbox.StepSpec{}, err
	}
	if env, err = t.withPath(ctx, image, env); err != nil {
		return sandbox.StepSpec{}, err
	}
	action := idOf(e)
	if action == "" {
		action = "__run"
	}
	process, err := t.processEnv(e.number, env, action, t.traceparent(e.number), t.actionVars(e)...)
	if err != nil {
		return sandbox.StepSpec{}, err
	}
	if err := t.writeCommandFiles(e.number, path.Base(script), scriptText(texts[0])); err != nil {
		return sandbox.StepSpec{}, err
	}
	return sandbox.StepSpec{
		ID: stepDir(e.number), Argv: argv, Otherwise: otherwise(texts[1], inContainer, script), Env: process, Dir: workingDir(t.paths.Workspace, texts[2]),
		Output: t.dirs.LogPath(e.number), Timeout: t.stepTimeout(limit), Grace: Grace, Resources: stepResources(e.step), Image: image,
	}, nil
}

func stepResources(s *planv1.Step) sandbox.Resources {
	r := s.GetResources()
	return sandbox.Resources{CPUMilli: r.GetCpuMilli(), Memory: r.GetMemory(), PIDs: r.GetPids()}
}

// stepTimeout is what the supervisor enforces by itself, also while no agent runs: the step's own limit, else the rest of
// the job's time with a margin for the agent, which ends jobs in an orderly way.
func (t *Attempt) stepTimeout(limit time.Duration) time.Duration {
	left, ok := t.jobTimeLeft()
	backstop := left + CleanupLimit
	if limit > 0 && (!ok || limit < backstop) {
		return limit
	}
	if !ok {
		return 0
	}
	return backstop
}

// writeCommandFiles makes a step's directory of script and empty command files, open to any user of the container.
func (t *Attempt) writeCommandFiles(n uint32, script, text string) error {
	root := t.commandsRoot()
	dir := stepDir(n)
	if err := root.RemoveAll(dir); err != nil {
		return fmt.Errorf("command files: %w", err)
	}
	if err := root.Mkdir(dir, 0o777); err != nil {
		return fmt.Errorf("command files: %w", err)
	}
	if err := root.Chmod(dir, 0o777); err != nil {
		return fmt.Errorf("command files: %w", err)
	}
	files := map[string]string{}
	for _, c := range fileCommands {
		files[c.file] = ""
	}
	if script != "" {
		files[script] = text
	}
	for name, content := range files {
		f, err := root.OpenFile(dir+"/"+name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if err != nil {
			return fmt.Errorf("command files: %w", err)
		}
		_, werr := f.WriteString(content)
		// The umask may have taken bits away that another user in the container needs.
		if err := errors.Join(werr, f.Chmod(0o666), f.Close()); err != nil {
			return fmt.Errorf("command files: %w", err)
		}
	}
	return nil
}

// continueStep goes on with a step that an earlier process began: it runs, or ended meanwhile, or never started.
func (t *Attempt) continueStep(ctx context.Context, e entry, rec *state.Step) error {
	if e.step.GetNative() != nil {
		return t.continueNative(ctx, e, rec)
	}
	var spec sandbox.StepSpec
	if err := t.dirs.ReadPrivate(specFile(e.number), &spec); err != nil {
		t.markLost(fmt.Errorf("what step %d was to run is gone: %w", e.number, err))
		return nil
	}
	_, l, err := t.begin(e.number, rec.Name, rec.ID)
	if err != nil {
		return err
	}
	return t.awaitRun(ctx, e, rec, l, spec)
}

type waited struct {
	exit sandbox.Exit
	err  error
}

// awaitRun starts the step, unless it was started before, and waits for its end.
func (t *Attempt) awaitRun(ctx context.Context, e entry, rec *state.Step, l *logs.Step, spec sandbox.StepSpec) error {
	w, x, err := t.tries(ctx, e, spec)
	if err != nil {
		return err
	}
	t.collect(ctx, e, &x)
	if ctx.Err() != nil {
		return stopReason(ctx)
	}
	t.endEntry(e, rec, l, x)
	if errors.Is(w.err, sandbox.ErrPodLost) || errors.Is(w.err, sandbox.ErrNotFound) {
		// Also after a step whose failure does not matter: no other can run.
		t.markLost(w.err)
	}
	return nil
}

// tries runs the step until it succeeds, or may not be tried again; the outcome is that of the last try.
func (t *Attempt) tries(ctx context.Context, e entry, spec sandbox.StepSpec) (waited, ending, error) {
	for {
		w, stopped := t.startAndWait(ctx, e, spec)
		if ctx.Err() != nil {
			return w, ending{}, stopReason(ctx)
		}
		x := t.judge(w, stopped, spec)
		if w.err == nil {
			t.readCommandFiles(e.number, &x)
		}
		try := tryOf(spec.ID)
		flaky(&x, try)
		if w.err != nil || stopped || e.kind == kindPost || !tryAgain(e.step.GetRetry(), try, x) {
			return w, x, nil //nolint:nilerr // the caller looks at w.err
		}
		out, err := t.openLines(e.number)
		if err != nil {
			return w, x, err
		}
		goOn, err := t.nextTry(ctx, e, try, x, out)
		out.Close()
		if err != nil || !goOn {
			return w, x, err
		}
		next, err := t.again(ctx, e, try+1)
		if ctx.Err() != nil {
			return w, x, stopReason(ctx)
		}
		if err != nil {
			x.failed(codeStepFailed, user, "%v", err)
			return w, x, nil //nolint:nilerr // it is the step's failure
		}
		spec = next
	}
}

// startAndWait returns how the step ended, and whether the agent stopped it because the job is ending.
func (t *Attempt) startAndWait(ctx context.Context, e entry, spec sandbox.StepSpec) (w waited, stopped bool) {
	ended, started := make(chan waited, 1), make(chan struct{})
	go func() {
		if err := t.pod.Start(ctx, spec); err != nil {
			ended <- waited{err: err}
			return
		}
		close(started)
		exit, err := t.pod.Wait(ctx, spec.ID)
		ended <- waited{exit, err}
	}()
	over := make(chan struct{})
	defer close(over)
	for {
		// Asked each time round: a cancel may have come before the step began.
		if soft, _ := t.ending(); soft && !stopped && t.mustStop(e) {
			stopped = true
			go t.stopStep(ctx, spec.ID, started, over)
		}
		select {
		case w = <-ended:
			return w, stopped
		case <-t.notices.wake:
			t.takeNotices()
		case <-ctx.Done():
			// Start and Wait end with ctx; the step itself does not.
			return <-ended, stopped
		}
	}
}

// stopStep waits for the start first: there is nothing to stop before. It goes on until the step has ended.
func (t *Attempt) stopStep(ctx context.Context, id string, started, over <-chan struct{}) {
	select {
	case <-started:
	case <-over:
		return
	}
	for {
		err := t.pod.Stop(ctx, id, Grace)
		if err == nil || ctx.Err() != nil {
			return
		}
		t.log.Error("a step could not be stopped; trying again", "step", id, "error", err)
		again := make(chan struct{})
		stop := t.d.Clock.AfterFunc(time.Second, func() { close(again) })
		select {
		case <-again:
		case <-over:
			stop()
			return
		case <-ctx.Done():
			stop()
			return
		}
	}
}

// judge turns an exit into an outcome.
func (t *Attempt) judge(w waited, stopped bool, spec sandbox.StepSpec) ending {
	x := ending{outcome: corev1.Result_RESULT_SUCCESS, exitCode: int32(w.exit.Code)}
	switch {
	case errors.Is(w.err, sandbox.ErrPodLost), errors.Is(w.err, sandbox.ErrNotFound):
		code, fault := sandboxFailure(codeLost, w.err)
		x.failed(code, fault, "the job's container ended under the step: %v", w.err)
	case w.err != nil:
		code, fault := sandboxFailure(codeSandbox, w.err)
		x.failed(code, fault, "the step could not be run: %v", w.err)
	case stopped:
		x.outcome = corev1.Result_RESULT_CANCELLED
		why := cmp.Or(t.p.Reason, "the run was cancelled")
		if t.p.TimedOut {
			why = "the job ran out of time"
		}
		if w.exit.Killed {
			why += "; it did not end on TERM and was killed after " + Grace.String()
		}
		x.failure = &state.Failure{Code: codeCancelled, Fault: user, Message: "stopped because " + why}
	default:
		if f := exitFailure(w.exit, spec); f != nil {
			x.failed(f.Code, f.Fault, "%s", f.Message)
		}
	}
	return x
}

// readCommandFiles takes what the step wrote for later ones. A file that can't be read fails the step.
func (t *Attempt) readCommandFiles(n uint32, x *ending) {
	read := func(file string, limit int64, use func([]byte) error) {
		data, err := workspace.ReadLimited(t.commandsRoot(), stepDir(n)+"/"+file, limit)
		if err == nil {
			err = use(data)
		} else {
			err = fmt.Errorf("the step's file %s can't be read: %w", file, err)
		}
		if err != nil && file == "summary" {
			// As on GitHub: what only people read fails no step.
			x.extra = append(x.extra, state.Annotation{Level: "error", Message: err.Error()})
		} else if err != nil {
			x.failed(codeStepFailed, user, "%v", err)
			x.extra = append(x.extra, state.Annotation{Level: "error", Message: err.Error()})
		}
	}
	pairs := func(variable string, to *[]commands.Pair) func([]byte) error {
		return func(data []byte) error {
			all, err := commands.ParsePairs(variable, data)
			*to = commands.Merge(*to, all...)
			return err
		}
	}
	read("output", maxFileCommand, pairs("GITHUB_OUTPUT", &x.values.Outputs))
	read("state", maxFileCommand, pairs("GITHUB_STATE", &x.values.State))
	read("env", maxFileCommand, func(data []byte) (err error) {
		x.values.Env, err = commands.ParseEnv(data)
		return err
	})
	read("path", maxFileCommand, func(data []byte) error {
		x.values.Path = commands.ParsePaths(data)
		return nil
	})
	read("summary", maxSummary, func(data []byte) error {
		x.values.Summary = string(data)
		return nil
	})
}
