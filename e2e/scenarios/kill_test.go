package scenarios

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// The scenarios of this file kill processes that all others use, so they run alone, one after the other.

// slowLines is how many lines the slow step prints, over about five seconds.
const slowLines = 3000

// slowSteps has a step that prints numbered lines slowly, and one before and after it. Each counts in the workspace how
// often it ran; the last prints the counts.
var slowSteps = oneJob(`
defaults: {run: {shell: sh}}
steps:
  - run: echo ran >> first
  - run: |
      echo ran >> slow
      i=1
      while [ $i -le ` + fmt.Sprint(slowLines) + ` ]; do
        echo "line $i of the slow step 0123456789 abcdefghijklmnopqrstuvwxyz"
        [ $((i % 10)) != 0 ] || sleep 0.015
        i=$((i + 1))
      done
  - run: |
      echo ran >> last
      for f in first slow last; do echo "$f ran $(wc -l < $f) times"; done
`)

// slowAnnexed is the same with a slow step that has an image of its own.
var slowAnnexed = strings.Replace(slowSteps, "- run: |\n          echo ran >> slow", "- image: busybox:latest\n        run: |\n          echo ran >> slow", 1)

func slowLine(i int) string {
	return fmt.Sprintf("line %d of the slow step 0123456789 abcdefghijklmnopqrstuvwxyz\n", i)
}

// slowLog is every byte that the slow job prints.
func slowLog() string {
	var b strings.Builder
	for i := 1; i <= slowLines; i++ {
		b.WriteString(slowLine(i))
	}
	return b.String() + "first ran 1 times\nslow ran 1 times\nlast ran 1 times\n"
}

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

// killed is the pid that was killed last, by name: a process may be on its way out when it is looked for again.
var killed = map[string]int{}

// kill ends a process of the cluster, once it runs.
func (p *project) kill(name string) {
	p.t.Helper()
	eventually(p.t, name+" runs", func() bool { pid := pids(p.t, name)[0]; return pid != 0 && pid != killed[name] })
	pid, err := sys.Kill(p.t.Context(), name)
	if err != nil {
		p.t.Fatal(err)
	}
	killed[name] = pid
}

// wantWhole: the run of the slow job that l follows succeeded, nothing ran twice, and no byte of its log is missing,
// doubled or out of order: neither in the store nor in what l printed.
func wantWhole(p *project, l *live) {
	p.t.Helper()
	id := l.runID()
	res := l.wait()
	if res.Code != succeeded {
		p.t.Fatalf("exit code %d:\n%s%s", res.Code, tail(res.Stdout), res.Stderr)
	}
	healthy(p.t)
	want := slowLog()
	if got := p.logOf(id, "a"); sum(got) != sum(want) {
		p.t.Errorf("the stored log has SHA-256 %s, want %s; %s", sum(got), sum(want), difference(got, want))
	}
	var printed strings.Builder
	for line := range strings.Lines(res.Stdout) {
		if text, ok := strings.CutPrefix(line, "a | "); ok && !isSetup(text) {
			printed.WriteString(text)
		}
	}
	if got := printed.String(); got != want {
		p.t.Errorf("the CLI's log: %s; it printed\n%s", difference(got, want), odd(res.Stdout))
	}
	if run := p.show(id); run.GetJobs()[0].GetAttempt() != 1 {
		p.t.Errorf("%d attempts, want 1", run.GetJobs()[0].GetAttempt())
	}
}

// healthy waits until what was killed is back: the next scenario counts on it.
func healthy(t *testing.T) {
	t.Helper()
	eventually(t, "Slipway is healthy again", func() bool { return sys.Healthy(t.Context()) == nil })
}

// isSetup says whether a line is one of the agent's own about preparing the job.
func isSetup(line string) bool {
	for _, s := range []string{"Job ", "Image: ", "Image of single steps: ", "pull", "Prepared "} {
		if strings.HasPrefix(line, s) {
			return true
		}
	}
	return false
}

// difference says where two logs part.
func difference(got, want string) string {
	g, w := strings.SplitAfter(got, "\n"), strings.SplitAfter(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d is %q, want %q (%d and %d lines)", i+1, g[i], w[i], len(g), len(w))
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}

// odd picks from what the CLI printed the lines that are neither the slow step's nor the agent's, with their neighbours.
func odd(stdout string) string {
	lines := strings.SplitAfter(stdout, "\n")
	regular := func(s string) bool {
		return strings.HasPrefix(s, "a | line ") && strings.HasSuffix(s, "abcdefghijklmnopqrstuvwxyz\n")
	}
	var b strings.Builder
	for i := 1; i+1 < len(lines); i++ {
		if !regular(lines[i-1]) || !regular(lines[i]) || !regular(lines[i+1]) {
			b.WriteString(lines[i])
		}
	}
	return b.String()
}

func tail(s string) string { return s[max(0, len(s)-2000):] }

// TestKillInMidStep ends processes with KILL while a step prints. `slipway dev` starts them again, and nothing is lost.
func TestKillInMidStep(t *testing.T) {
	for _, tt := range []struct {
		name  string
		kills [][]string
	}{
		{"agent", [][]string{{"agent"}}},
		{"coordinator", [][]string{{"coordinator"}}},
		{"both at once", [][]string{{"coordinator", "agent"}}},
		{"containerd", [][]string{{"containerd"}}},
		{"one after the other", [][]string{{"agent"}, {"coordinator"}, {"agent"}}},
		{"agent, of a step with an image", [][]string{{"agent"}, {"agent"}}},
		{"containerd, of a step with an image", [][]string{{"containerd"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := slowSteps
			if strings.HasSuffix(tt.name, "of a step with an image") {
				if file = slowAnnexed; file == slowSteps {
					t.Fatal("the slow step has no image")
				}
			}
			p := workflow(t, file)
			l := p.start("run", "ci.yml")
			for i, names := range tt.kills {
				l.await(strings.TrimSpace(slowLine((i + 1) * slowLines / 6)))
				for _, name := range names {
					p.kill(name)
				}
			}
			wantWhole(p, l)
		})
	}
}

// TestKillTheSupervisor: what `slipway dev` started outlives it, and a new one adopts it.
func TestKillTheSupervisor(t *testing.T) {
	p := workflow(t, slowSteps)
	l := p.start("run", "ci.yml")
	l.await(strings.TrimSpace(slowLine(slowLines / 6)))
	before := pids(t, "containerd", "coordinator", "agent")
	p.kill("supervisor")
	eventually(t, "the supervisor is gone", func() bool { return pids(t, "supervisor")[0] == 0 })
	if err := sys.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := pids(t, "containerd", "coordinator", "agent"); !slices.Equal(before, after) || slices.Contains(after, 0) {
		t.Errorf("processes before %v, after %v: they were not adopted", before, after)
	}
	l.await(strings.TrimSpace(slowLine(slowLines / 2)))
	// An adopted process is watched like one's own child.
	p.kill("agent")
	wantWhole(p, l)
}

// TestStopAndStartAgain: jobs live through a `slipway dev` that is stopped in order, with coordinator and agent, and are
// taken up by the next one.
func TestStopAndStartAgain(t *testing.T) {
	p := workflow(t, slowSteps)
	l := p.start("run", "ci.yml")
	l.await(strings.TrimSpace(slowLine(slowLines / 6)))
	if err := syscall.Kill(pids(t, "supervisor")[0], syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "everything is stopped", func() bool {
		return slices.Equal(pids(t, "supervisor", "containerd", "coordinator", "agent"), []int{0, 0, 0, 0})
	})
	if err := sys.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantWhole(p, l)
}

func pids(t *testing.T, names ...string) []int {
	t.Helper()
	var out []int
	for _, n := range names {
		pid, err := sys.PID(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, pid)
	}
	return out
}

// TestKillWhilePreparing kills processes when a job is being set up: it goes on from there, or begins again; it never runs
// a step twice.
func TestKillWhilePreparing(t *testing.T) {
	const file = `
services:
  db:
    image: postgres:15-alpine
    env: {POSTGRES_PASSWORD: secret}
    options: --health-cmd pg_isready --health-interval 100ms --health-retries 200
defaults: {run: {shell: sh}}
steps:
  - run: |
      echo ran >> ran
      echo "ran $(wc -l < ran) times"
`
	for _, tt := range []struct {
		name, at string
		kills    []string
	}{
		{"agent at the beginning", "a | Image: ", []string{"agent"}},
		{"agent while a service starts", "db is started", []string{"agent"}},
		{"agent again when it is back", "db is started", []string{"agent", "agent"}},
		{"containerd while a service starts", "db is started", []string{"containerd"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := workflow(t, oneJob(file))
			l := p.start("run", "ci.yml")
			l.await(tt.at)
			for _, name := range tt.kills {
				p.kill(name)
			}
			id := l.runID()
			res := l.wait()
			healthy(t)
			if log := p.logOf(id, "a"); res.Code != succeeded || log != "ran 1 times\n" {
				t.Errorf("exit code %d, log %q:\n%s%s", res.Code, log, res.Stdout, res.Stderr)
			}
		})
	}
}

// TestKillBetweenSteps kills the agent again and again while short steps follow one another.
func TestKillBetweenSteps(t *testing.T) {
	const n = 60
	var steps strings.Builder
	for i := range n {
		fmt.Fprintf(&steps, "  - run: echo step %d; echo ran >> ran\n", i)
	}
	p := workflow(t, oneJob("defaults: {run: {shell: sh}}\nsteps:\n"+steps.String()+"  - run: echo $(wc -l < ran) ran\n"))
	l := p.start("run", "ci.yml")
	for _, at := range []int{n / 6, n / 2} {
		l.await(fmt.Sprintf("a | step %d", at))
		p.kill("agent")
	}
	id := l.runID()
	if res := l.wait(); res.Code != succeeded {
		t.Fatalf("exit code %d:\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
	healthy(t)
	var want strings.Builder
	for i := range n {
		fmt.Fprintf(&want, "step %d\n", i)
	}
	fmt.Fprintf(&want, "%d ran\n", n)
	if got := p.logOf(id, "a"); got != want.String() {
		t.Errorf("log: %s", difference(got, want.String()))
	}
}

// TestKillDuringUpload kills agent, then coordinator, while an artifact is being uploaded: it arrives whole, once.
func TestKillDuringUpload(t *testing.T) {
	for _, name := range []string{"agent", "coordinator"} {
		t.Run(name, func(t *testing.T) {
			p := workflow(t, oneJob(`
defaults: {run: {shell: sh}}
steps:
  - run: |
      mkdir out
      for i in 1 2 3 4; do head -c 6000000 /dev/urandom > out/$i; done
      cat out/* | sha256sum | cut -c1-64
  - uses: actions/upload-artifact@v4
    with: {name: big, path: out/}
`))
			l := p.start("run", "ci.yml")
			id := l.runID()
			p.until(id, "upload begins", func(r *apiv1.Run) bool {
				return slices.ContainsFunc(r.GetJobs()[0].GetSteps(), func(s *corev1.StepStatus) bool {
					return s.GetNumber() == 2 && s.GetState() == corev1.StepState_STEP_STATE_RUNNING
				}) || ended(r)
			})
			p.kill(name)
			if res := l.wait(); res.Code != succeeded {
				t.Fatalf("exit code %d:\n%s%s", res.Code, res.Stdout, res.Stderr)
			}
			healthy(t)
			p.must("artifacts", "get", id, "big")
			printed := strings.SplitN(p.logOf(id, "a"), "\n", 2)[0]
			if got := treeSum(t, p.dir+"/big"); got != printed {
				t.Errorf("the artifact's files have SHA-256 %s, the job wrote %s", got, printed)
			}
			if run := p.show(id); len(run.GetArtifacts()) != 1 {
				t.Errorf("artifacts: %v", run.GetArtifacts())
			}
		})
	}
}

// TestKilledCoordinatorLosesNoSubmit: a submit that was answered is there after a KILL, one that was not can be repeated.
func TestKilledCoordinatorLosesNoSubmit(t *testing.T) {
	p := workflow(t, oneJob("steps:\n  - {run: echo here, shell: sh}\n"))
	id := strings.TrimSpace(p.must("run", "-d", "ci.yml"))
	p.kill("coordinator")
	// While it is away, the CLI waits for it a little.
	second := strings.TrimSpace(p.must("run", "-d", "ci.yml"))
	for _, id := range []string{id, second} {
		run := p.until(id, "ends", ended)
		if run.GetState() != corev1.RunState_RUN_STATE_SUCCEEDED || p.logOf(id, "a") != "here\n" {
			t.Errorf("run %s: %s, log %q", id, run.GetState(), p.logOf(id, "a"))
		}
	}
}
