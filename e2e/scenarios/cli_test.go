package scenarios

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/internal/id"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

const hello = "steps: [{run: echo hello, shell: sh}]\n"

// TestExitCodes: 0, 1, 3; 2 is TestBadInput's, 4 TestInterruptOnce's.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	workflow(t, oneJob(hello)).run(succeeded)
	workflow(t, oneJob("steps: [{run: exit 9, shell: sh}]\n")).run(failed)
	p := workflow(t, oneJob(hello))
	res := p.slipway("run", "ci.yml", "--address", "127.0.0.1:1")
	if res.Code != systemError || !strings.Contains(res.Stderr, "127.0.0.1:1") || !strings.Contains(res.Stderr, "slipway dev") {
		t.Errorf("no coordinator: exit code %d, want %d:\n%s", res.Code, systemError, res.Stderr)
	}
	p.write("token", "not-a-token\n")
	res = p.slipway("runs", "ls", "--token-file", "token")
	if res.Code != systemError || !strings.Contains(res.Stderr, "token") {
		t.Errorf("wrong token: exit code %d, want %d:\n%s", res.Code, systemError, res.Stderr)
	}
}

// TestPlainOutput of a run, line by line.
func TestPlainOutput(t *testing.T) {
	t.Parallel()
	p := workflow(t, "name: Hello\n"+oneJob(hello))
	res := p.slipway("run", "ci.yml")
	for _, want := range []string{"Hello #", "a > Set up job\n", "a > running on ", "a > Run echo hello\na | hello\n", "a > succeeded in ", " succeeded in "} {
		if !strings.Contains(res.Stdout, want) {
			t.Errorf("output lacks %q:\n%s", want, res.Stdout)
		}
	}
	if strings.Contains(res.Stdout, "\x1b") {
		t.Errorf("colours although it is no terminal: %q", res.Stdout)
	}
}

// TestDetachAndFollow: -d prints the id alone; logs -f goes on until the end; logs of an ended run end at once.
func TestDetachAndFollow(t *testing.T) {
	t.Parallel()
	p := workflow(t, oneJob(`
defaults: {run: {shell: sh}}
steps:
  - run: echo first; sleep 100
`)+"  b:\n    runs-on: busybox\n    "+hello)
	out := p.must("run", "--detach", "ci.yml")
	run := strings.TrimSpace(out)
	if len(run) != 26 || out != run+"\n" {
		t.Fatalf("run -d printed %q", out)
	}
	// Both readers are there while it runs, and see its end.
	all, one := p.start("logs", "-f", run), p.start("logs", "-f", "--raw", run, "b")
	all.await("a | first")
	one.await("hello")
	p.must("runs", "cancel", run)
	if res := all.wait(); res.Code != succeeded || !strings.Contains(res.Stdout, "b | hello\n") {
		t.Errorf("logs -f: exit code %d\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
	if res := one.wait(); res.Code != succeeded || !strings.HasSuffix(res.Stdout, "hello\n") || strings.Contains(res.Stdout, "first") {
		t.Errorf("logs -f --raw of one job: exit code %d\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
	if text := p.must("logs", run, "a"); !strings.Contains(text, "a | first\n") || strings.Contains(text, "hello") {
		t.Errorf("logs of job a:\n%s", text)
	}
	refused(t, p, []string{`"zzz"`, `"a"`, `"b"`}, "logs", run, "zzz")
	// A prefix and a number name the run too.
	if p.show(run[:20]).GetId() != run {
		t.Error("a prefix does not name the run")
	}
}

// TestListingsAreJSON: every listing's `-o json` is one valid JSON value.
func TestListingsAreJSON(t *testing.T) {
	t.Parallel()
	p := workflow(t, oneJob("steps: [{run: echo x > f, shell: sh}, {uses: actions/upload-artifact@v4, with: {name: n, path: f}}]\n"))
	o := p.run(succeeded)
	for _, args := range [][]string{
		{"runs", "ls"}, {"runs", "ls", "-n", "1"}, {"runs", "ls", "--project", "nobody"}, {"runs", "show", o.run.GetId()},
		{"artifacts", "ls", o.run.GetId()}, {"agents", "ls"}, {"validate", "ci.yml"}, {"plan", "ci.yml"}, {"version"}, {"run", "-d", "ci.yml"},
		{"tokens", "create", "--user", "u", "--groups", "g"}, {"agents", "join-token"},
	} {
		res := p.slipway(append(args, "-o", "json")...)
		var v any
		dec := json.NewDecoder(strings.NewReader(res.Stdout))
		if err := dec.Decode(&v); err != nil || dec.More() || res.Code != succeeded || v == nil {
			t.Errorf("slipway %s -o json: exit code %d, %v:\n%s%s", strings.Join(args, " "), res.Code, err, res.Stdout, res.Stderr)
		}
	}
	var list []any
	if err := json.Unmarshal([]byte(p.must("runs", "ls", "--project", "nobody", "-o", "json")), &list); err != nil || len(list) != 0 {
		t.Errorf("a listing of nothing is %v, %v", list, err)
	}
}

// TestTheSameRequestTwice: a repeated submit, also after the run's end, gives the first one's run and starts nothing.
func TestTheSameRequestTwice(t *testing.T) {
	t.Parallel()
	cl, err := sys.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Release()
	p := newProject(t, nil)
	request := &apiv1.SubmitRunRequest{RequestId: id.NewSource(time.Now).New(), Project: "twice", Path: "ci.yml", Workflow: []byte(oneJob(hello)), Event: "push",
		Source: &corev1.Source{Repository: "a/b", Sha: strings.Repeat("0", 40), Ref: "refs/heads/main"}}
	first, err := cl.Submit(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	p.until(first.GetRunId(), "ends", ended)
	for range 3 {
		again, err := cl.Submit(t.Context(), request)
		if err != nil || again.GetRunId() != first.GetRunId() || again.GetRunNumber() != first.GetRunNumber() {
			t.Errorf("repeated: %v, %v, want %v", again, err, first)
		}
	}
	if runs := decodeRuns(t, p.must("runs", "ls", "--project", "twice", "-o", "json")); len(runs) != 1 {
		t.Errorf("%d runs, want 1", len(runs))
	}
}

// TestWaitingExplainsItself: a job that no agent can take says so where people look, and does not hang in silence.
func TestWaitingExplainsItself(t *testing.T) {
	t.Parallel()
	p := workflow(t, strings.Replace(oneJob(hello), "busybox", "elsewhere", 1))
	l := p.start("run", "ci.yml")
	run := l.runID()
	line := l.await("no agent can take it now")
	for _, want := range []string{"a > ", "far-away", `"default"`} {
		if !strings.Contains(line, want) {
			t.Errorf("slipway run says %q, want %q in it", line, want)
		}
	}
	if text := p.must("runs", "show", run); !strings.Contains(text, "far-away") {
		t.Errorf("runs show:\n%s", text)
	}
	l.signal(syscall.SIGINT)
	if res := l.wait(); res.Code != cancelled {
		t.Errorf("exit code %d:\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
}

// TestClosedStreams: no standard input, a reader that goes away, a full disk: the run goes on all the same.
func TestClosedStreams(t *testing.T) {
	t.Parallel()
	shell := func(t *testing.T, p *project, script string) string {
		t.Helper()
		cmd := sys.Command(t.Context(), p.dir, "version")
		cmd.Args = []string{"bash", "-c", script, cmd.Path}
		cmd.Path = "/bin/bash"
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
		return string(out)
	}
	for _, tt := range []struct{ name, script, want string }{
		{"no stdin", `"$0" run ci.yml <&- >out; echo "code $?"`, "code 0\n"},
		{"no stdout", `"$0" run ci.yml >&-; echo "code $?"`, "code "},
		{"broken pipe", `"$0" run ci.yml | head -1; echo "code ${PIPESTATUS[0]}"`, "code "},
		{"full disk", `"$0" run ci.yml >/dev/full; echo "code $?"`, "The run goes on without being watched"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := workflow(t, "name: "+tt.name+"\n"+oneJob("steps: [{run: 'echo hello; sleep 0.5; echo bye', shell: sh}]\n"))
			out := shell(t, p, tt.script)
			if !strings.Contains(out, tt.want) || strings.Contains(out, "panic") || strings.Contains(out, "goroutine") {
				t.Errorf("%q, want %q", out, tt.want)
			}
			var mine *apiv1.Run
			for _, r := range decodeRuns(t, p.must("runs", "ls", "-n", "1000", "-o", "json")) {
				if r.GetName() == tt.name {
					mine = r
				}
			}
			run := p.until(mine.GetId(), "ends", ended)
			if run.GetState() != corev1.RunState_RUN_STATE_SUCCEEDED || p.logOf(run.GetId(), "a") != "hello\nbye\n" {
				t.Errorf("run %s, log %q", run.GetState(), p.logOf(run.GetId(), "a"))
			}
		})
	}
}
