package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/slipway-ci/slipway/internal/spans"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

const traced = `
name: traced
on: push
defaults: {run: {shell: sh}}
jobs:
  build:
    runs-on: busybox
    steps:
      - {name: tell, run: echo "told $TRACEPARENT" | tee told}
      - {name: lenient, continue-on-error: true, run: exit 3}
      - {name: never, if: false, run: echo no}
      - {name: keep, uses: actions/upload-artifact@v4, with: {name: told, path: told}}
  breaks:
    needs: build
    runs-on: busybox
    steps:
      - {name: broken, run: exit 7}
  deploy:
    needs: breaks
    runs-on: busybox
    steps:
      - {name: nothing, run: "true"}
`

// project is a git repository with one workflow.
func project(t *testing.T, workflow string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ci.yml"), []byte(workflow), 0o644); err != nil {
		t.Fatal(err)
	}
	git(t, dir, "init", "-q", "-b", "main")
	git(t, dir, "remote", "add", "origin", "https://git.example.com/acme/shop.git")
	git(t, dir, "add", ".")
	git(t, dir, "commit", "-q", "-m", "first")
	return dir
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@example.com",
		"GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// runID runs ci.yml to its end and returns the run's id.
func runID(t *testing.T, dir string, wantCode int, env ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := sys.Command(ctx, dir, "run", "ci.yml", "-o", "json")
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run() // the exit code says it all
	var runs []struct{ ID string }
	if code := cmd.ProcessState.ExitCode(); code != wantCode {
		t.Fatalf("exit code %d, want %d\n%s%s", code, wantCode, &stdout, &stderr)
	}
	if err := json.Unmarshal(stdout.Bytes(), &runs); err != nil || len(runs) != 1 {
		t.Fatalf("%v in %s", err, &stdout)
	}
	return runs[0].ID
}

// logs is what a job printed.
func logs(t *testing.T, run, job string) string {
	t.Helper()
	cl, err := sys.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Release()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var b strings.Builder
	err = cl.Logs(ctx, &apiv1.StreamLogsRequest{RunId: run, JobId: job, Follow: true}, func(l *apiv1.StreamLogsResponse) error {
		b.Write(l.GetData())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// told are the TRACEPARENTs that a job's steps printed.
func told(t *testing.T, run, job string) []string {
	t.Helper()
	var out []string
	for line := range strings.Lines(logs(t, run, job)) {
		if tp, ok := strings.CutPrefix(strings.TrimSpace(line), "told "); ok {
			out = append(out, tp)
		}
	}
	return out
}

func wantAttrs(t *testing.T, s span, want map[string]string) {
	t.Helper()
	for key, value := range want {
		if got := s.attr(key); got != value {
			t.Errorf("%s of %q: %q, want %q", key, s.GetName(), got, value)
		}
	}
}

func TestRunIsOneTrace(t *testing.T) {
	dir := project(t, traced)
	id := runID(t, dir, 1)
	// build: 0–5 and itself; breaks: 0–2 and itself; deploy: itself.
	f := col.await(t, id, 7+4+1)
	root := f.one("RUN traced")
	if root.parent() != "" || root.trace() != spans.RunTrace(id).String() || root.id() != spans.RunSpan(id).String() {
		t.Errorf("the run's span: %s", root)
	}
	if root.service != "slipway-coordinator" || root.GetKind() != tracev1.Span_SPAN_KIND_SERVER || root.GetStatus().GetCode() != tracev1.Status_STATUS_CODE_ERROR {
		t.Errorf("the run's span: %s, kind %s, status %s", root, root.GetKind(), root.GetStatus())
	}
	wantAttrs(t, root, map[string]string{
		"cicd.pipeline.name": "traced", "cicd.pipeline.result": "failure", "cicd.pipeline.action.name": "RUN", "error.type": "step-failed",
		"vcs.owner.name": "acme", "vcs.repository.name": "shop", "vcs.ref.head.name": "main", "vcs.ref.head.type": "branch",
		"vcs.ref.head.revision": git(t, dir, "rev-parse", "HEAD"), "slipway.run.event": "push", "slipway.pipeline.path": "ci.yml",
	})
	for job, result := range map[string]string{"build": "success", "breaks": "failure", "deploy": "skip"} {
		s := f.one(job)
		if s.parent() != root.id() || s.GetKind() != tracev1.Span_SPAN_KIND_INTERNAL {
			t.Errorf("the span of job %s, under %s: %s", job, root.id(), s)
		}
		wantAttrs(t, s, map[string]string{"cicd.pipeline.task.name": job, "cicd.pipeline.task.run.result": result, "slipway.job.id": job})
	}
	build := f.one("build")
	if build.service != "slipway-agent" || build.attr("cicd.worker.id") == "" || build.attr("slipway.job.attempt") != "1" {
		t.Errorf("the job's span: %s", build)
	}
	if queued := build.attr("slipway.job.queued_seconds"); queued == "" || strings.HasPrefix(queued, "-") {
		t.Errorf("it was queued for %q seconds", queued)
	}
	if build.GetStartTimeUnixNano() < root.GetStartTimeUnixNano() || duration(build) <= 0 || duration(root) < duration(build) {
		t.Errorf("the job took %s from %d, the run %s from %d", duration(build), build.GetStartTimeUnixNano(), duration(root), root.GetStartTimeUnixNano())
	}
	wantSteps(t, f, id)
}

func wantSteps(t *testing.T, f tree, id string) {
	t.Helper()
	for _, w := range []struct {
		job            string
		number         int
		name, result   string
		exit, conclude string
	}{
		{"build", 0, "Set up job", "success", "", "success"}, {"build", 1, "tell", "success", "0", "success"}, {"build", 2, "lenient", "failure", "3", "success"},
		{"build", 3, "never", "skip", "", "skipped"}, {"build", 4, "keep", "success", "", "success"}, {"build", 5, "Complete job", "success", "", "success"},
		{"breaks", 1, "broken", "failure", "7", "failure"},
	} {
		s := f.step(w.job, w.number)
		job := f.one(w.job)
		if s.GetName() != w.name || s.parent() != job.id() || s.trace() != job.trace() || s.service != "slipway-agent" {
			t.Errorf("step %d of %s is to be %q under %s: %s", w.number, w.job, w.name, job.id(), s)
		}
		wantAttrs(t, s, map[string]string{"cicd.pipeline.task.run.result": w.result, "process.exit.code": w.exit, "slipway.step.conclusion": w.conclude})
		if failed := s.GetStatus().GetCode() == tracev1.Status_STATUS_CODE_ERROR; failed != (w.conclude == "failure") {
			t.Errorf("the status of step %q is %s", w.name, s.GetStatus())
		}
		if s.GetStartTimeUnixNano() < job.GetStartTimeUnixNano() || s.GetEndTimeUnixNano() > job.GetEndTimeUnixNano() {
			t.Errorf("step %q is not within its job", w.name)
		}
	}
	tell := f.step("build", 1)
	want := fmt.Sprintf("00-%s-%s-01", tell.trace(), tell.id())
	if got := told(t, id, "build"); len(got) != 1 || got[0] != want {
		t.Errorf("the step was told %q, want its own span %q", got, want)
	}
	// The agent's own calls for a native step are its children.
	keep := f.step("build", 4)
	all, _ := col.all()
	for _, s := range all {
		if s.parent() == keep.id() && s.trace() == keep.trace() && strings.HasSuffix(s.GetName(), "FleetService/PutBlob") {
			return
		}
	}
	t.Error("no call is a child of the step that uploads an artifact")
}

func TestSubmittersTraceGoesOn(t *testing.T) {
	dir := project(t, "name: child\non: push\njobs: {a: {runs-on: busybox, steps: [{shell: sh, run: echo told $TRACEPARENT}]}}\n")
	const trace, caller = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	id := runID(t, dir, 0, "TRACEPARENT=00-"+trace+"-"+caller+"-01")
	root := col.await(t, id, 4).one("RUN child")
	if root.trace() != trace || root.parent() != caller {
		t.Errorf("the run of a step of another trace: %s", root)
	}
	// Who does not sample is obeyed, and their context is passed on.
	id = runID(t, dir, 0, "TRACEPARENT=00-"+trace+"-"+caller+"-00")
	got := told(t, id, "a")
	if len(got) != 1 || !strings.HasPrefix(got[0], "00-"+trace+"-") || !strings.HasSuffix(got[0], "-00") {
		t.Errorf("a step of a run that is not sampled was told %q", got)
	}
	// Another run's trace arrives whole; of this one nothing came before.
	col.await(t, runID(t, dir, 0), 4)
	all, _ := col.all()
	for _, s := range all {
		if s.attr("cicd.pipeline.run.id") == id {
			t.Errorf("a span of a run that is not sampled: %s", s)
		}
	}
}

const slow = `
name: slow
on: push
defaults: {run: {shell: sh}}
jobs:
  slow:
    runs-on: busybox
    steps:
      - {name: first, run: echo told $TRACEPARENT}
      - name: second
        run: |
          echo told $TRACEPARENT
          i=0
          while [ $i -lt 60 ]; do echo "line $i"; i=$((i + 1)); sleep 0.1; done
      - {name: third, run: echo told $TRACEPARENT}
`

// The run's trace outlives the processes: each is killed in mid-step, and nothing of it is missing or doubled. What is left of doubling shows
// when all have stopped (TestMain).
func TestTraceOutlivesKilledProcesses(t *testing.T) {
	dir := project(t, slow)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	killed, seen := 0, ""
	killer := killer(t, &killed)
	cmd := sys.Command(ctx, dir, "run", "ci.yml")
	cmd.Stdout = writer(func(p []byte) {
		seen += string(p)
		killer(seen)
	})
	if err := cmd.Run(); err != nil || killed != 2 {
		t.Fatalf("%v, %d processes killed\n%s", err, killed, seen)
	}
	var runs []struct{ ID string }
	if err := sys.JSON(ctx, &runs, "runs", "ls", "-n", "1"); err != nil || len(runs) != 1 {
		t.Fatal(runs, err)
	}
	f := col.await(t, runs[0].ID, 6)
	root, job := f.one("RUN slow"), f.one("slow")
	if job.parent() != root.id() || duration(job) < 6*time.Second || duration(root) < duration(job) {
		t.Errorf("the run took %s, the job %s: %s", duration(root), duration(job), job)
	}
	got := told(t, runs[0].ID, "slow")
	if len(got) != 3 {
		t.Fatalf("told %q", got)
	}
	for i, tp := range got {
		s := f.step("slow", i+1)
		if want := fmt.Sprintf("00-%s-%s-01", root.trace(), s.id()); tp != want || s.parent() != job.id() {
			t.Errorf("step %d was told %q, want %q: %s", i+1, tp, want, s)
		}
	}
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

// killer kills the agent, then the coordinator, as the slow step goes on.
func killer(t *testing.T, killed *int) func(seen string) {
	return func(seen string) {
		for i, name := range []string{"agent", "coordinator"} {
			if *killed == i && strings.Contains(seen, fmt.Sprintf("line %d\n", 10*(i+1))) {
				*killed++
				if _, err := sys.Kill(t.Context(), name); err != nil {
					t.Error(err)
				}
			}
		}
	}
}
