package scenarios

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/slipway-ci/slipway/e2e/cluster"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// Exit codes of the CLI, as its help promises them.
const (
	succeeded = iota
	failed
	invalid
	systemError
	cancelled
)

// patience bounds everything that a scenario waits for.
const patience = 90 * time.Second

// project is a directory with workflow files, of one scenario.
type project struct {
	t   *testing.T
	dir string
}

// newProject writes files, name → content.
func newProject(t *testing.T, files map[string]string) *project {
	t.Helper()
	p := &project{t, t.TempDir()}
	for name, content := range files {
		p.write(name, content)
	}
	return p
}

// workflow is a project with one workflow file, ci.yml.
func workflow(t *testing.T, text string) *project {
	t.Helper()
	return newProject(t, map[string]string{"ci.yml": text})
}

func (p *project) write(name, content string) {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// git runs git in the project, as somebody in particular.
func (p *project) git(args ...string) string {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), "git", args...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@example.com",
		"GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		p.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// slipway runs the CLI in the project, to its end.
func (p *project) slipway(args ...string) cluster.Result {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	res, err := sys.Slipway(ctx, p.dir, args...)
	if err != nil {
		p.t.Fatal(err)
	}
	return res
}

// must runs the CLI and returns what it prints; exit code 0 is expected.
func (p *project) must(args ...string) string {
	p.t.Helper()
	res := p.slipway(args...)
	if res.Code != succeeded {
		p.t.Fatalf("slipway %s: exit code %d\n%s%s", strings.Join(args, " "), res.Code, res.Stdout, res.Stderr)
	}
	return res.Stdout
}

// outcome is how a run went.
type outcome struct {
	*project
	run *apiv1.Run
}

// run runs ci.yml to its end and expects the CLI's exit code.
func (p *project) run(want int) outcome {
	p.t.Helper()
	res := p.slipway("run", "ci.yml", "-o", "json")
	if res.Code != want {
		p.t.Fatalf("exit code %d, want %d\n%s%s", res.Code, want, res.Stdout, res.Stderr)
	}
	runs := decodeRuns(p.t, res.Stdout)
	if len(runs) != 1 {
		p.t.Fatalf("%d runs in %s", len(runs), res.Stdout)
	}
	return outcome{p, runs[0]}
}

func decodeRuns(t *testing.T, text string) []*apiv1.Run {
	t.Helper()
	var raw []json.RawMessage
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	var out []*apiv1.Run
	for _, r := range raw {
		run := new(apiv1.Run)
		if err := protojson.Unmarshal(r, run); err != nil {
			t.Fatalf("%v in %s", err, r)
		}
		out = append(out, run)
	}
	return out
}

// show asks for a run as it is now.
func (p *project) show(id string) *apiv1.Run {
	p.t.Helper()
	run := new(apiv1.Run)
	if err := protojson.Unmarshal([]byte(p.must("runs", "show", id, "-o", "json")), run); err != nil {
		p.t.Fatal(err)
	}
	return run
}

// until asks for a run again and again until it is as wanted.
func (p *project) until(id, what string, ok func(*apiv1.Run) bool) *apiv1.Run {
	p.t.Helper()
	var run *apiv1.Run
	eventually(p.t, "run "+id+": "+what, func() bool { run = p.show(id); return ok(run) })
	return run
}

func ended(r *apiv1.Run) bool { return r.GetState() >= corev1.RunState_RUN_STATE_SUCCEEDED }

// log is what a job's steps printed, without what the agent says in "Set up job" and "Complete job".
func (o outcome) log(job string) string {
	o.t.Helper()
	return o.logOf(o.run.GetId(), job)
}

// logOf is the log of a job's steps, once it is complete. The CLI has no way to ask for one step.
func (p *project) logOf(run, job string) string {
	p.t.Helper()
	cl, err := sys.Client()
	if err != nil {
		p.t.Fatal(err)
	}
	defer cl.Release()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	var steps []uint32
	var texts []string
	err = cl.Logs(ctx, &apiv1.StreamLogsRequest{RunId: run, JobId: job, Follow: true}, func(l *apiv1.StreamLogsResponse) error {
		if len(steps) == 0 || steps[len(steps)-1] != l.GetStep() {
			steps, texts = append(steps, l.GetStep()), append(texts, "")
		}
		texts[len(texts)-1] += string(l.GetData())
		return nil
	})
	if err != nil {
		p.t.Fatalf("logs of %s %s: %v", run, job, err)
	}
	agents := map[uint32]bool{}
	for _, j := range p.show(run).GetJobs() {
		for _, s := range j.GetSteps() {
			if j.GetId() == job && (s.GetName() == "Set up job" || s.GetName() == "Complete job") {
				agents[s.GetNumber()] = true
			}
		}
	}
	var text strings.Builder
	for i, s := range steps {
		if !agents[s] {
			text.WriteString(texts[i])
		}
	}
	return text.String()
}

// job is a job by its instance id.
func (o outcome) job(id string) *apiv1.Job {
	o.t.Helper()
	for _, j := range o.run.GetJobs() {
		if j.GetId() == id {
			return j
		}
	}
	o.t.Fatalf("run has no job %q: %v", id, o.run.GetJobs())
	return nil
}

// state is the last word of a job's state: SUCCEEDED.
func (o outcome) state(job string) string {
	o.t.Helper()
	return word(o.job(job).GetState())
}

func word(s corev1.JobState) string { return strings.TrimPrefix(s.String(), "JOB_STATE_") }

// wantStates compares the states of jobs: "a SUCCEEDED, b SKIPPED".
func (o outcome) wantStates(want string) {
	o.t.Helper()
	var got []string
	for pair := range strings.SplitSeq(want, ", ") {
		id, _, _ := strings.Cut(pair, " ")
		got = append(got, id+" "+o.state(id))
	}
	if s := strings.Join(got, ", "); s != want {
		o.t.Errorf("jobs ended as\n%s, want\n%s\n%v", s, want, o.run)
	}
}

// wantLog compares all that a job's steps printed.
func (o outcome) wantLog(job, want string) {
	o.t.Helper()
	if got := o.log(job); got != want {
		o.t.Errorf("job %s printed\n%q, want\n%q", job, got, want)
	}
}

// runIDs are all runs that the coordinator knows, newest first.
func (p *project) runIDs() []string {
	p.t.Helper()
	var ids []string
	for _, r := range decodeRuns(p.t, p.must("runs", "ls", "-n", "1000", "-o", "json")) {
		ids = append(ids, r.GetId())
	}
	return ids
}

// live is a CLI that runs.
type live struct {
	t              *testing.T
	cmd            *exec.Cmd
	stdout, stderr *lines
	done           chan struct{}
	err            error
}

// start begins a command in the background. It is killed at the end of the scenario, if it is still there.
func (p *project) start(args ...string) *live {
	p.t.Helper()
	l := &live{t: p.t, stdout: newLines(), stderr: newLines(), done: make(chan struct{})}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	l.cmd = sys.Command(ctx, p.dir, args...)
	l.cmd.Stdout, l.cmd.Stderr = l.stdout, l.stderr
	if err := l.cmd.Start(); err != nil {
		cancel()
		p.t.Fatal(err)
	}
	go func() {
		l.err = l.cmd.Wait()
		l.stdout.end()
		l.stderr.end()
		close(l.done)
	}()
	p.t.Cleanup(func() { cancel(); <-l.done })
	return l
}

// await returns the first line of stdout that contains a text.
func (l *live) await(text string) string {
	l.t.Helper()
	line, ok := l.stdout.await(text, patience)
	if !ok {
		l.t.Fatalf("%q was not printed:\n%s%s", text, l.stdout, l.stderr)
	}
	return line
}

func (l *live) signal(s syscall.Signal) {
	l.t.Helper()
	if err := l.cmd.Process.Signal(s); err != nil {
		l.t.Fatal(err)
	}
}

// wait returns how the command ended.
func (l *live) wait() cluster.Result {
	l.t.Helper()
	select {
	case <-l.done:
	case <-time.After(patience):
		l.t.Fatalf("slipway does not end:\n%s%s", l.stdout, l.stderr)
	}
	if exited := (*exec.ExitError)(nil); l.err != nil && !errors.As(l.err, &exited) {
		l.t.Fatal(l.err)
	}
	return cluster.Result{Stdout: l.stdout.String(), Stderr: l.stderr.String(), Code: l.cmd.ProcessState.ExitCode()}
}

// runID reads the run's id from the first line that `slipway run` prints.
func (l *live) runID() string {
	l.t.Helper()
	_, rest, ok := strings.Cut(l.await(" > run "), " > run ")
	id, _, _ := strings.Cut(rest, ",")
	if !ok || len(id) != 26 {
		l.t.Fatalf("no run id in %q", rest)
	}
	return id
}

// lines is a writer that can be waited on.
type lines struct {
	mu    sync.Mutex
	text  bytes.Buffer
	ended bool
	more  chan struct{}
}

func newLines() *lines { return &lines{more: make(chan struct{})} }

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.more)
	l.more = make(chan struct{})
	return l.text.Write(b)
}

func (l *lines) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	close(l.more)
	l.more = make(chan struct{})
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lines) await(text string, limit time.Duration) (string, bool) {
	timeout := time.After(limit)
	for {
		l.mu.Lock()
		all, ended, more := l.text.String(), l.ended, l.more
		l.mu.Unlock()
		if i := strings.Index(all, text); i >= 0 {
			begin := strings.LastIndexByte(all[:i], '\n') + 1
			if length := strings.IndexByte(all[i:], '\n'); length >= 0 {
				return all[begin : i+length], true
			}
		}
		if ended {
			return "", false
		}
		select {
		case <-more:
		case <-timeout:
			return "", false
		}
	}
}

// eventually asks again until ok, for what cannot be waited on: the state of other processes.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, patience)
		}
		<-tick.C
	}
}
