package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/internal/apitest"
	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	"github.com/slipway-ci/slipway/internal/tui"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// cli is one user at one machine: an empty home, a project directory, and a coordinator that may be absent.
type cli struct {
	t      *testing.T
	env    map[string]string
	dir    string
	sigs   chan os.Signal
	size   *tui.Size
	stdout *buffer
	stderr *buffer
}

// buffer may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newCLI(t *testing.T, s *apitest.Server) *cli {
	t.Helper()
	c := &cli{t: t, env: map[string]string{}, dir: t.TempDir(), sigs: make(chan os.Signal, 2), stdout: &buffer{}, stderr: &buffer{}}
	c.env["XDG_CONFIG_HOME"] = t.TempDir()
	t.Chdir(c.dir)
	if s != nil {
		ca := filepath.Join(t.TempDir(), "ca.pem")
		c.write(ca, string(s.CA))
		c.env["SLIPWAY_ADDRESS"], c.env["SLIPWAY_CA"], c.env["SLIPWAY_TOKEN"] = s.Address(), ca, apitest.Token
	}
	return c
}

func (c *cli) write(path, content string) {
	c.t.Helper()
	if !filepath.IsAbs(path) {
		path = filepath.Join(c.dir, path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cli) app() *app {
	a := newApp()
	a.out, a.err, a.home = c.stdout, c.stderr, c.dir
	a.getenv = func(k string) string { return c.env[k] }
	a.now = func() time.Time { return time.UnixMilli(1_700_000_002_000) }
	a.terminal = func() (tui.Size, bool) {
		if c.size == nil {
			return tui.Size{}, false
		}
		return *c.size, true
	}
	a.interrupts = func() (<-chan os.Signal, func()) { return c.sigs, func() {} }
	return a
}

// run is one command; it returns what it wrote since the last one.
func (c *cli) run(args ...string) (code exit.Code, out, errOut string) {
	c.t.Helper()
	out, errOut = c.stdout.String(), c.stderr.String()
	code = c.app().main(c.t.Context(), args)
	return code, strings.TrimPrefix(c.stdout.String(), out), strings.TrimPrefix(c.stderr.String(), errOut)
}

const hello = "on: push\njobs:\n  hello:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo hello\n"

func TestBadInputEndsWith2AndStartsNothing(t *testing.T) {
	s := apitest.Start(t)
	c := newCLI(t, s)
	c.write("empty.yml", " \n")
	c.write("large.yml", hello+strings.Repeat("# filler\n", 600_000))
	c.write("binary.yml", "\x7fELF\x00\x01")
	c.write("latin.yml", "on: push # caf\xe9\n")
	c.write("list.yml", "- a\n- b\n")
	c.write("noyaml.yml", "on: [push\njobs: {")
	c.write("key.yml", strings.Replace(hello, "runs-on", "run-on", 1))
	c.write("needs.yml", strings.Replace(hello, "    runs-on", "    needs: nope\n    runs-on", 1))
	c.write("cycle.yml", strings.Replace(hello, "    runs-on", "    needs: hello\n    runs-on", 1))
	c.write("expr.yml", strings.Replace(hello, "echo hello", "echo ${{ github.sha && }}", 1))
	c.write("payload.json", "[1]")
	c.write("good.yml", hello)
	if err := os.Mkdir("folder.yml", 0o755); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		args string
		want string
	}{
		{"run nope.yml", "no such file"},
		{"runs cancel", "Usage: slipway runs cancel RUN"},
		{"logs 1 --job a", "Usage: slipway logs [RUN [JOB]]"},
		{"run folder.yml", "is a directory"},
		{"run empty.yml", "is empty"},
		{"run large.yml", "too large"},
		{"run binary.yml", "binary file"},
		{"run latin.yml", "not UTF-8"},
		{"run /dev/zero", "not a regular file"},
		{"run list.yml", "list.yml:1:1"},
		{"run noyaml.yml", "noyaml.yml:"},
		{"run key.yml", "runs-on"},
		{"run needs.yml", "nope"},
		{"run cycle.yml", "cycle.yml:"},
		{"run expr.yml", "expr.yml:6:"},
		{"run good.yml --ref main", "not in a git repository"},
		{"run good.yml --payload payload.json", "not a JSON object"},
		{"run", "neither .slipway/ nor .github/workflows/"},
		{"run a b", "accepts at most 1 arg"},
		{"run --nope", "unknown flag"},
		{"run good.yml -o yaml", "unknown output format"},
		{"nope", "unknown command"},
		{"runs nope", "unknown command"},
		{"runs show nope12", "no run"},
		{"runs show", "no runs yet"},
		{"tokens create", "user"},
	}
	for _, tt := range tests {
		code, _, errOut := c.run(strings.Fields(tt.args)...)
		if code != exit.Invalid || !strings.Contains(errOut, tt.want) {
			t.Errorf("%s: exit code %d, %q; want 2 and %q", tt.args, code, errOut, tt.want)
		}
	}
	if n := s.Calls("SubmitRun"); n != 0 {
		t.Errorf("%d submits arrived", n)
	}
}

func TestRefusalByTheCoordinatorEndsWith2(t *testing.T) {
	s := apitest.Start(t)
	c := newCLI(t, s)
	c.write("ci.yml", hello)
	s.Refuse = func(method string) error {
		return rpcerr.New(rpcerr.ImageUnavailable, "image ghost:1 of job hello: the registry has no such tag")
	}
	if code, _, errOut := c.run("run", "ci.yml"); code != exit.Invalid || !strings.Contains(errOut, "ghost:1") {
		t.Errorf("exit code %d, %q", code, errOut)
	}
	s.Refuse = func(string) error { return rpcerr.New(rpcerr.Internal, "disk full") }
	if code, _, _ := c.run("run", "ci.yml"); code != exit.System {
		t.Errorf("exit code %d, want 3", code)
	}
}

func TestNoCoordinatorEndsWith3AndSaysWhatToDo(t *testing.T) {
	c := newCLI(t, nil)
	c.write("ci.yml", hello)
	if code, _, errOut := c.run("run", "ci.yml"); code != exit.System || !strings.Contains(errOut, "slipway dev --detach") {
		t.Errorf("nothing configured: %d %q", code, errOut)
	}
	c.env["SLIPWAY_ADDRESS"], c.env["SLIPWAY_TOKEN"] = "127.0.0.1:1", "x"
	if code, _, errOut := c.run("runs", "ls"); code != exit.System || !strings.Contains(errOut, "127.0.0.1:1") || !strings.Contains(errOut, "slipway dev status") {
		t.Errorf("nobody there: %d %q", code, errOut)
	}
	if code, _, _ := c.run("runs", "ls", "--address", "nonsense"); code != exit.Invalid {
		t.Errorf("bad address: %d", code)
	}
}

// finish plays a run of one job to its end.
func finish(run corev1.RunState, job corev1.JobState) func(*apitest.Run) {
	return func(r *apitest.Run) {
		r.Update(func(v *apiv1.Run) {
			v.State = corev1.RunState_RUN_STATE_RUNNING
			v.Jobs = []*apiv1.Job{{Id: "hello", Key: "hello", Name: "hello", State: corev1.JobState_JOB_STATE_RUNNING, Agent: "host-1", AttemptId: "a-hello",
				StartedMs: 1_700_000_000_500, Steps: []*corev1.StepStatus{{Number: 1, Name: "Greet", State: corev1.StepState_STEP_STATE_RUNNING, EndedMs: -1}}}}
		})
		r.Log("hello", 1, "hel")
		r.Log("hello", 1, "lo\n")
		r.Update(func(v *apiv1.Run) {
			j := v.GetJobs()[0]
			j.State, j.EndedMs = job, 1_700_000_001_500
			j.Steps[0].State, j.Steps[0].EndedMs = corev1.StepState_STEP_STATE_SUCCEEDED, 900
			if job == corev1.JobState_JOB_STATE_FAILED {
				j.Failure = &corev1.Failure{Code: "step-failed", Message: "step Greet failed with exit code 1"}
			}
			v.Artifacts = []*corev1.Artifact{{Name: "report", Digest: "sha256:00", Size: 2048, Files: 2, JobId: "hello",
				Tests: &corev1.TestSummary{Tests: 5, Failures: 1, Skipped: 1, DurationMs: 700, Failed: []*corev1.TestCase{{Suite: "greet", Name: "says hello", Message: "expected hi\nat x"}}}}}
		})
		r.End(run)
	}
}

func TestRunExitCodesAndOutput(t *testing.T) {
	tests := []struct {
		run  corev1.RunState
		job  corev1.JobState
		want exit.Code
	}{
		{corev1.RunState_RUN_STATE_SUCCEEDED, corev1.JobState_JOB_STATE_SUCCEEDED, exit.OK},
		{corev1.RunState_RUN_STATE_FAILED, corev1.JobState_JOB_STATE_FAILED, exit.Failed},
		{corev1.RunState_RUN_STATE_CANCELLED, corev1.JobState_JOB_STATE_CANCELLED, exit.Cancelled},
		{corev1.RunState_RUN_STATE_SKIPPED, corev1.JobState_JOB_STATE_SKIPPED, exit.OK},
	}
	for _, tt := range tests {
		s := apitest.Start(t)
		s.Script = finish(tt.run, tt.job)
		c := newCLI(t, s)
		c.write("ci.yml", hello)
		code, out, errOut := c.run("run", "ci.yml")
		if code != tt.want || !strings.Contains(out, "hello | hello\n") || errOut != "" {
			t.Errorf("%v: exit code %d, want %d; %q %q", tt.run, code, tt.want, out, errOut)
		}
		if req := s.Runs()[0].Request; req.GetSource().GetTree() != "" || req.GetPath() != "ci.yml" || req.GetEvent() != "push" {
			t.Errorf("submitted %v", req)
		}
	}
}

func TestRunOnATerminalDrawsAndLeavesTheTree(t *testing.T) {
	s := apitest.Start(t)
	s.Script = finish(corev1.RunState_RUN_STATE_SUCCEEDED, corev1.JobState_JOB_STATE_SUCCEEDED)
	c := newCLI(t, s)
	c.size, c.env["TERM"], c.env["LANG"] = &tui.Size{Width: 80, Height: 24}, "xterm", "C.UTF-8"
	c.write("ci.yml", hello)
	code, out, _ := c.run("run", "ci.yml")
	if code != exit.OK || !strings.Contains(out, "✓") || !strings.HasSuffix(out[:strings.Index(out, "\x1b[?25h")], "\x1b[J") {
		t.Errorf("%d %q", code, out)
	}
	c.env["NO_COLOR"] = "1"
	if _, out, _ = c.run("run", "ci.yml"); strings.Contains(out, "\x1b[32m") {
		t.Errorf("colours in spite of NO_COLOR: %q", out)
	}
}

func TestRunWithoutFileSubmitsWhatTheEventStarts(t *testing.T) {
	s := apitest.Start(t)
	c := newCLI(t, s)
	checkout := strings.Replace(hello, "- run: echo hello", "- uses: actions/checkout@v4", 1)
	c.write(".github/workflows/a.yml", checkout)
	c.write(".github/workflows/pr.yaml", strings.Replace(hello, "on: push", "on: pull_request", 1))
	c.write(".github/workflows/README.md", "no workflow")
	c.write(".slipway/b.yml", hello)
	code, out, errOut := c.run("run", "-o", "json")
	if code != exit.OK {
		t.Fatalf("%d %q", code, errOut)
	}
	var runs []map[string]any
	if err := json.Unmarshal([]byte(out), &runs); err != nil || len(runs) != 2 || runs[0]["path"] != ".slipway/b.yml" || runs[1]["path"] != ".github/workflows/a.yml" {
		t.Fatalf("%v %q", err, out)
	}
	if d := s.Runs()[1].Request.GetSource().GetTree(); len(s.Blob(d)) == 0 {
		t.Errorf("no tree was uploaded although a workflow checks it out: %q", d)
	}
	if code, _, errOut = c.run("run", "--event", "release"); code != exit.Invalid || !strings.Contains(errOut, "a.yml") {
		t.Errorf("nothing starts on release: %d %q", code, errOut)
	}
	if code, out, _ = c.run("run", "--detach", ".slipway/b.yml"); code != exit.OK || strings.TrimSpace(out) != s.Runs()[2].ID() {
		t.Errorf("detached: %d %q", code, out)
	}
}

func TestInterruptCancelsAndWaitsAndTwiceLeaves(t *testing.T) {
	s := apitest.Start(t)
	cleaning := make(chan struct{})
	release := make(chan struct{})
	s.Script = func(r *apitest.Run) {
		r.Log("hello", 1, "working\n")
		<-r.Cancelled
		close(cleaning)
		<-release
		r.Log("hello", 2, "cleaned up\n")
		r.End(corev1.RunState_RUN_STATE_CANCELLED)
	}
	c := newCLI(t, s)
	c.write("ci.yml", hello)
	done := make(chan exit.Code)
	go func() { done <- c.app().main(t.Context(), []string{"run", "ci.yml"}) }()
	waitFor(t, func() bool { return strings.Contains(c.stdout.String(), "working") })
	c.sigs <- os.Interrupt
	<-cleaning
	waitFor(t, func() bool { return strings.Contains(c.stdout.String(), "clean-up") })
	close(release)
	if code := <-done; code != exit.Cancelled || !strings.Contains(c.stdout.String(), "cleaned up") {
		t.Errorf("once: exit code %d, %q", code, c.stdout)
	}

	s.Script = func(r *apitest.Run) { r.Log("hello", 1, "again\n") }
	go func() { done <- c.app().main(t.Context(), []string{"run", "ci.yml"}) }()
	waitFor(t, func() bool { return strings.Contains(c.stdout.String(), "| again") })
	c.sigs <- os.Interrupt
	c.sigs <- syscall.SIGINT
	if code := <-done; code != exit.Cancelled || s.Calls("CancelRun") != 2 {
		t.Errorf("twice: exit code %d, %d cancellations", code, s.Calls("CancelRun"))
	}
}

// waitFor looks for what another goroutine writes.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(2 * time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("it did not happen")
		}
	}
}

func TestShowListLogsAndArtifacts(t *testing.T) {
	s := apitest.Start(t)
	s.Script = finish(corev1.RunState_RUN_STATE_FAILED, corev1.JobState_JOB_STATE_FAILED)
	s.ListedAgents = []*apiv1.Agent{{Id: "a1", Hostname: "host-1", State: "online", Pool: "default", Slots: 2, CpuMilli: 2000, Memory: 8 << 30, LastSeenMs: 1_700_000_001_000}}
	c := newCLI(t, s)
	c.write("ci.yml", hello)
	c.run("run", "ci.yml")
	want := map[string][]string{
		"runs show":                      {"failed", "step-failed: step Greet failed", "Greet", "0.9s", "report  2.0 KiB, 2 files", "5 run, 1 failed", "1 skipped", "says hello", "expected hi"},
		"runs show 1":                    {"CI #1.1"},
		"runs ls":                        {"#1", "failed", "push main"},
		"runs ls -o json":                {`"state": "RUN_STATE_FAILED"`},
		"runs show -o json latest":       {`"number": "1"`},
		"logs":                           {"hello > Greet\nhello | hello\n"},
		"logs latest hello --raw":        {"hello\n"},
		"logs -f latest hello":           {"hello | hello\n"},
		"artifacts ls":                   {"report", "2.0 KiB", "5, 1 failed"},
		"artifacts ls -o json":           {`"digest": "sha256:00"`},
		"agents ls":                      {"host-1", "online", "8.0 GiB"},
		"agents ls -o json":              {`"hostname": "host-1"`},
		"agents join-token --labels a,b": {"join-secret"},
		"tokens create --user ann --groups dev,admins -o json": {`"token": "user-secret"`},
		"runs cancel 1":         {"run #1.1 has ended: failed"},
		"version":               {"slipway "},
		"plan --resolve ci.yml": {"busybox is mirror/busybox@sha256:00"},
		"plan ci.yml":           {"hello", "1. echo hello"},
		"plan ci.yml -o json":   {`"jobs"`},
		"validate ci.yml":       {"ci.yml: ok"},
		"completion bash":       {"bash completion"},
	}
	for args, parts := range want {
		code, out, errOut := c.run(strings.Fields(args)...)
		if code != exit.OK {
			t.Errorf("%s: exit code %d, %q", args, code, errOut)
		}
		for _, p := range parts {
			if !strings.Contains(out, p) {
				t.Errorf("%s: %q lacks %q", args, out, p)
			}
		}
	}
	if r := s.TokenRequests()[0]; r.GetUser() != "ann" || len(r.GetGroups()) != 2 || r.GetRequestId() == "" {
		t.Errorf("token request %v", r)
	}
	if code, _, errOut := c.run("logs", "1", "nope"); code != exit.Invalid || !strings.Contains(errOut, "hello") {
		t.Errorf("logs of an unknown job: %d %q", code, errOut)
	}
}

func TestValidateLooksAtEveryFile(t *testing.T) {
	c := newCLI(t, nil)
	c.write("good.yml", hello)
	c.write("bad.yml", strings.Replace(hello, "steps", "stepz", 1))
	code, out, _ := c.run("validate", "bad.yml", "nope.yml", "good.yml")
	for _, p := range []string{"bad.yml:5:", "nope.yml: error", "good.yml: ok"} {
		if !strings.Contains(out, p) {
			t.Errorf("%q lacks %q", out, p)
		}
	}
	if code != exit.Invalid {
		t.Errorf("exit code %d", code)
	}
	code, out, _ = c.run("validate", "-o", "json", "bad.yml", "good.yml")
	var files []struct {
		File  string
		Valid bool
	}
	if err := json.Unmarshal([]byte(out), &files); err != nil || len(files) != 2 || files[0].Valid || !strings.Contains(out, `"line": 5`) || !files[1].Valid || code != exit.Invalid {
		t.Errorf("%v %d %q", err, code, out)
	}
}
