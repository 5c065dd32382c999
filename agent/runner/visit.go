package runner

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-ci/slipway/agent/native"
	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/workspace"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

const (
	// visitGrace is between TERM and KILL for what somebody ran in a held pod.
	visitGrace = 2 * time.Second
	// stopPatience is how long that, and finding out that it is done, may take.
	stopPatience = 20 * time.Second
	// visitChunk is how much goes in one message: what is on its way is bounded by a few of these, and by the pipes.
	visitChunk = 32 << 10
)

// visit is one command in a held pod.
type visit struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
	died   chan struct{}
}

// end puts the visitor out and returns when nothing of the command runs any more. nil is nobody.
func (v *visit) end(why string) {
	if v != nil {
		v.cancel(errors.New(why))
		<-v.done
	}
}

// lost is closed if the pod was found dead.
func (v *visit) lost() <-chan struct{} {
	if v == nil {
		return nil
	}
	return v.died
}

// visit begins a visit.
func (t *Attempt) visit(parent context.Context, a *fleetv1.Attach) *visit {
	ctx, cancel := context.WithCancelCause(parent)
	v := &visit{cancel: cancel, done: make(chan struct{}), died: make(chan struct{})}
	// Here, as it is the actor that may use the attempt's values.
	spec, place := t.visitSpec(ctx, a)
	pod, log := t.pod, t.log.With("session", a.GetSessionId())
	go func() {
		defer close(v.done)
		defer cancel(nil)
		err := serveVisit(ctx, t.d.Remote, pod, a, spec, place)
		log.Info("a visit of the held pod is over", "error", err)
		if errors.Is(err, sandbox.ErrPodLost) {
			close(v.died)
		}
	}()
	return v
}

// visitSpec is a step's process, the failed one's if the visitor names none, with another command: its container, its directory, its files and its
// environment without what may be a secret. place says so.
func (t *Attempt) visitSpec(ctx context.Context, a *fleetv1.Attach) (spec sandbox.StepSpec, place *corev1.TerminalPlace) {
	spec, place = sandbox.StepSpec{Dir: t.paths.Workspace}, &corev1.TerminalPlace{}
	if e, ok := t.visited(a.GetStep()); ok {
		place.Step, place.StepName = e.number, t.nameOf(e.number)
		env, err := t.stepEnv(e, t.envOf(e))
		if err == nil && e.step.GetNative() == nil {
			var own sandbox.StepSpec
			if own, err = t.runSpec(ctx, e, env); err == nil {
				spec.Env, spec.Dir, spec.User, spec.Image = own.Env, own.Dir, own.User, own.Image
				place.Image = own.Image
				t.dropSecretFiles(e.number)
			}
		}
		if err != nil || e.step.GetNative() != nil {
			spec.Env, err = t.processEnv(e.number, env, "__debug", "")
		}
		if err != nil {
			t.log.Warn("a visitor of the held pod does not get the failed step's environment", "error", err)
		}
	}
	spec.Env = slices.DeleteFunc(spec.Env, func(entry string) bool {
		_, value, _ := strings.Cut(entry, "=")
		return t.values.hide.Hides(value)
	})
	if a.GetTty() && a.GetTerm() != "" {
		spec.Env = append(spec.Env, "TERM="+a.GetTerm())
	}
	spec.ID, spec.Grace = "debug-"+a.GetSessionId(), visitGrace
	spec.Argv, spec.Otherwise = a.GetCommand(), nil
	if len(spec.Argv) == 0 {
		spec.Argv, spec.Otherwise = []string{"bash"}, []string{"sh"}
	}
	return spec, place
}

// visited is the step in whose place somebody looks around: the one with that number, 0 is the one that failed.
func (t *Attempt) visited(number uint32) (entry, bool) {
	if number == 0 {
		return t.failedEntry()
	}
	e, ok := t.entry(number)
	return e, ok && e.kind == kindMain
}

// failedEntry is the first step of the plan that failed, and failed the job: if an action did, its step.
func (t *Attempt) failedEntry() (entry, bool) {
	for _, s := range t.p.Steps {
		if e, ok := t.entry(s.Number); ok && e.kind == kindMain && t.failed(e) {
			return e, true
		}
	}
	return entry{}, false
}

// failed says whether an entry failed, and every action that it is in.
func (t *Attempt) failed(e entry) bool {
	for {
		if rec := t.record(e.number); rec == nil || rec.Conclusion != corev1.Result_RESULT_FAILURE {
			return false
		}
		if e.within == 0 {
			return true
		}
		e = t.entries[e.within-1]
	}
}

// nameOf is what people know a step by; "" if it never had its turn.
func (t *Attempt) nameOf(number uint32) string {
	for _, s := range t.p.Steps {
		if s.Number == number {
			return s.Name
		}
	}
	return ""
}

// dropSecretFiles removes what runSpec wrote for a step, its script above all, if a secret was put into it.
func (t *Attempt) dropSecretFiles(n uint32) {
	dir, err := t.commandsRoot().Open(stepDir(n))
	if err != nil {
		return
	}
	names, _ := dir.Readdirnames(-1)
	_ = dir.Close()
	for _, name := range names {
		path := stepDir(n) + "/" + name
		text, err := workspace.ReadLimited(t.commandsRoot(), path, maxFileCommand)
		if err != nil || t.values.hide.Hides(string(text)) {
			_ = t.commandsRoot().RemoveAll(path)
		}
	}
}

// link is the stream of a visit; two goroutines send.
type link struct {
	stream fleetv1.FleetService_AttachClient
	mu     sync.Mutex
	// received is closed when the coordinator has ended the stream; nil if nobody receives.
	received chan struct{}
}

func (l *link) send(out *corev1.TerminalOutput) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stream.Send(&fleetv1.AttachRequest{Output: out})
}

// RefuseAttach tells the coordinator that a command can't be run.
func RefuseAttach(ctx context.Context, remote native.Remote, sessionID, why string) error {
	l, err := dialVisit(ctx, remote, sessionID)
	if err != nil {
		return err
	}
	return l.last(126, why)
}

func dialVisit(ctx context.Context, remote native.Remote, sessionID string) (*link, error) {
	client, err := remote.Client(ctx)
	if err != nil {
		return nil, err
	}
	stream, err := client.Attach(ctx)
	if err != nil {
		return nil, err
	}
	return &link{stream: stream}, stream.Send(&fleetv1.AttachRequest{SessionId: sessionID})
}

// last sends the end and waits until it was taken.
func (l *link) last(code int, message string) error {
	if err := l.send(&corev1.TerminalOutput{Exit: &corev1.TerminalExit{Code: int32(code), Message: message}}); err != nil {
		return err
	}
	if err := l.stream.CloseSend(); err != nil {
		return err
	}
	if l.received != nil {
		<-l.received
		return nil
	}
	for {
		if _, err := l.stream.Recv(); err != nil {
			return nil //nolint:nilerr // the coordinator has all, or is gone
		}
	}
}

// serveVisit runs the command until it ends, its visitor leaves, or ctx does; then nothing of it is left.
func serveVisit(ctx context.Context, remote native.Remote, pod sandbox.Pod, a *fleetv1.Attach, spec sandbox.StepSpec, place *corev1.TerminalPlace) error {
	// The stream lives a little longer than the visit, to say how that ended.
	streamCtx, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	defer hangUp()
	ctx, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	stopDial := context.AfterFunc(ctx, hangUp)
	l, err := dialVisit(streamCtx, remote, a.GetSessionId())
	stopDial()
	if err != nil {
		return err
	}
	consoles, ok := pod.(sandbox.Consoles)
	if !ok {
		return l.last(126, "the agent's sandbox has no consoles")
	}
	con, err := consoles.Console(ctx, spec, a.GetTty())
	if err != nil {
		return errors.Join(err, l.last(126, err.Error()))
	}
	defer con.Close()
	if err := l.send(&corev1.TerminalOutput{Place: place}); err != nil {
		leave(errLeft) // ended below, as if its visitor had gone a moment later
	}
	if con.Resize != nil && a.GetSize().GetRows() > 0 {
		_ = con.Resize(uint16(a.GetSize().GetRows()), uint16(a.GetSize().GetColumns()))
	}
	l.received = make(chan struct{})
	go func() {
		defer close(l.received)
		leave(l.receive(con))
	}()
	var pumps sync.WaitGroup
	pumps.Go(func() {
		l.pump(con.Out, func(b []byte) *corev1.TerminalOutput { return &corev1.TerminalOutput{Stdout: b} })
	})
	if con.Err != nil {
		pumps.Go(func() {
			l.pump(con.Err, func(b []byte) *corev1.TerminalOutput { return &corev1.TerminalOutput{Stderr: b} })
		})
	}
	exit, err := pod.Wait(ctx, spec.ID)
	message := exit.Message
	if ctx.Err() != nil {
		message = "ended because " + context.Cause(ctx).Error()
		con.Close()
		exit, err = stopVisit(pod, spec.ID)
		time.AfterFunc(stopPatience, hangUp) // for who does not read
	}
	pumps.Wait()
	con.Close()
	if err != nil {
		return errors.Join(err, l.last(126, err.Error()))
	}
	return l.last(exit.Code, message)
}

// stopVisit ends a command whatever becomes of the visit.
func stopVisit(pod sandbox.Pod, id string) (sandbox.Exit, error) {
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	if err := pod.Stop(ctx, id, visitGrace); err != nil {
		return sandbox.Exit{}, err
	}
	return pod.Wait(ctx, id)
}

// pump sends what the command prints until its end. If nobody takes it any more, the command finds its output closed.
func (l *link) pump(from io.Reader, message func([]byte) *corev1.TerminalOutput) {
	buf := make([]byte, visitChunk)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if l.send(message(slices.Clone(buf[:n]))) != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// errLeft: the visitor, or the coordinator between, is gone.
var errLeft = errors.New("whoever was in the pod is gone")

// receive gives the command what the visitor sends, and returns when there is no visitor any more.
func (l *link) receive(con *sandbox.Console) error {
	for {
		m, err := l.stream.Recv()
		if err != nil {
			return errLeft
		}
		in := m.GetInput()
		if s := in.GetSize(); s.GetRows() > 0 && con.Resize != nil {
			_ = con.Resize(uint16(s.GetRows()), uint16(s.GetColumns()))
		}
		if len(in.GetData()) > 0 {
			// A command that does not read its input holds up nobody but its visitor; one that has closed it wants no more.
			_, _ = con.In.Write(in.GetData())
		}
		if in.GetEnd() && con.Resize == nil {
			_ = con.In.Close()
		}
	}
}
