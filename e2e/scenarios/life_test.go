package scenarios

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// The scenarios of this file drain, stop and replace the agent that all others use, so they run alone, one after the other.

// theAgent is the cluster's only agent as it is now.
func (p *project) theAgent() *apiv1.Agent {
	p.t.Helper()
	host, err := os.Hostname()
	if err != nil {
		p.t.Fatal(err)
	}
	a := new(apiv1.Agent)
	if err := protojson.Unmarshal([]byte(p.must("agents", "show", host, "-o", "json")), a); err != nil {
		p.t.Fatal(err)
	}
	return a
}

// waitsBecause waits until a run's job says why it waits.
func (p *project) waitsBecause(run, text string) {
	p.t.Helper()
	p.until(run, "waits because "+text, func(r *apiv1.Run) bool { return strings.Contains(r.GetJobs()[0].GetReason(), text) })
}

func TestDrainAndResume(t *testing.T) {
	p := workflow(t, slowSteps)
	l := p.start("run", "ci.yml")
	l.await(strings.TrimSpace(slowLine(slowLines / 6)))
	id := p.theAgent().GetId()
	defer p.slipway("agents", "resume", id) // the others need it, whatever happens here
	if out := p.must("agents", "drain", id[:8], "--reason", "kernel update"); !strings.Contains(out, "1 jobs go on") {
		t.Errorf("drain says %q", out)
	}
	if out := p.must("agents", "ls"); !strings.Contains(out, "online,draining") {
		t.Errorf("agents ls says\n%s", out)
	}
	q := workflow(t, oneJob("steps: [{run: echo here, shell: sh}]\n"))
	waiting := strings.TrimSpace(q.must("run", "-d", "ci.yml"))
	q.waitsBecause(waiting, "is draining since")
	if out := p.must("agents", "show", id); !strings.Contains(out, "it is draining since") || !strings.Contains(out, "kernel update") || !strings.Contains(out, "of run #") {
		t.Errorf("agents show says\n%s", out)
	}
	if res := p.slipway("agents", "rm", id); res.Code != invalid || !strings.Contains(res.Stderr, "drain") {
		t.Errorf("rm of an agent with jobs: exit code %d, %s", res.Code, res.Stderr)
	}
	// It waits for the job, which is not disturbed.
	if out := p.must("agents", "drain", id, "--wait", "--reason", "kernel update"); !strings.Contains(out, "is drained") {
		t.Errorf("drain --wait says %q", out)
	}
	wantWhole(p, l)
	if a := p.theAgent(); a.GetSchedule() != "drained" || a.GetSlotsUsed() != 0 {
		t.Errorf("the agent: %v", a)
	}
	q.waitsBecause(waiting, "is drained since")
	if out := p.must("agents", "resume", id); !strings.Contains(out, "takes work again") {
		t.Errorf("resume says %q", out)
	}
	q.until(waiting, "ends", ended)
	if log := q.logOf(waiting, "a"); log != "here\n" {
		t.Errorf("log %q", log)
	}
}

func TestADrainsDeadlineMovesOrEndsJobs(t *testing.T) {
	file := func(extra string) string {
		return strings.ReplaceAll(oneJob(`
`+extra+`
steps:
  - {run: "echo begun; exec sleep 600", shell: sh}
  - {run: echo cleaned, shell: sh, if: always()}
`), "    \n", "")
	}
	stubborn := newProject(t, map[string]string{"ci.yml": file("")})
	movable := newProject(t, map[string]string{".slipway/ci.yml": file("retry: {attempts: 2, on: [lost]}")})
	l, m := stubborn.start("run", "ci.yml"), movable.start("run", ".slipway/ci.yml")
	l.await("a | begun")
	m.await("a | begun")
	id := stubborn.theAgent().GetId()
	defer stubborn.slipway("agents", "resume", id)
	stubborn.must("agents", "drain", id, "--deadline", "1s", "--wait")
	if res := l.wait(); res.Code != failed || !strings.Contains(res.Stdout, "drained: agent "+id+" was drained by") || !strings.Contains(res.Stdout, "a | cleaned") {
		t.Errorf("exit code %d:\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
	run := m.runID()
	movable.until(run, "waits again", func(r *apiv1.Run) bool { return strings.Contains(r.GetJobs()[0].GetReason(), "is drained since") })
	stubborn.must("agents", "resume", id)
	movable.until(run, "is tried again", func(r *apiv1.Run) bool { return r.GetJobs()[0].GetAttempt() == 2 && r.GetJobs()[0].GetStartedMs() != 0 })
	movable.must("runs", "cancel", run)
	m.wait()
}

// TestTheAgentsTERMDrains: the process goes on until its jobs have ended, and takes no other; then it leaves. `slipway dev` starts the next one.
func TestTheAgentsTERMDrains(t *testing.T) {
	p := workflow(t, slowSteps)
	l := p.start("run", "ci.yml")
	l.await(strings.TrimSpace(slowLine(slowLines / 6)))
	pid := pids(t, "agent")[0]
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the agent drains", func() bool { return p.theAgent().GetDrain().GetOwn() })
	q := workflow(t, oneJob("steps: [{run: echo here, shell: sh}]\n"))
	waiting := strings.TrimSpace(q.must("run", "-d", "ci.yml"))
	q.waitsBecause(waiting, "is draining since")
	if now := pids(t, "agent")[0]; now != pid {
		t.Errorf("the agent is process %d, was %d", now, pid)
	}
	wantWhole(p, l)
	q.until(waiting, "ends", ended)
	if now := pids(t, "agent")[0]; now == pid || q.theAgent().GetDrain() != nil {
		t.Errorf("the next agent is process %d, was %d: %v", now, pid, q.theAgent())
	}
}

// TestASecondTERMLeavesTheJobsToTheNextAgent: so does USR1 at once, which a restart by the service manager sends.
func TestASecondTERMLeavesTheJobsToTheNextAgent(t *testing.T) {
	for name, signals := range map[string][]syscall.Signal{"TERM twice": {syscall.SIGTERM, syscall.SIGTERM}, "USR1": {syscall.SIGUSR1}} {
		t.Run(name, func(t *testing.T) {
			p := workflow(t, slowSteps)
			l := p.start("run", "ci.yml")
			l.await(strings.TrimSpace(slowLine(slowLines / 6)))
			pid := pids(t, "agent")[0]
			for i, sig := range signals {
				if i > 0 {
					eventually(t, "the agent drains", func() bool { return p.theAgent().GetDrain().GetOwn() })
				}
				if err := syscall.Kill(pid, sig); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "another agent runs", func() bool { now := pids(t, "agent")[0]; return now != 0 && now != pid })
			wantWhole(p, l)
		})
	}
}

// TestUpgradeInMidStep replaces coordinator and agent by another build while a step prints: the step and its log know nothing of it.
func TestUpgradeInMidStep(t *testing.T) {
	other := filepath.Join(t.TempDir(), "slipway")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", other, "-ldflags", "-X github.com/slipway-ci/slipway/internal/version.Version=upgraded-build", "./cmd/slipway")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building another version: %v\n%s", err, out)
	}
	p := workflow(t, slowSteps)
	first := sys.Bin()
	before := p.theAgent().GetVersion()
	l := p.start("run", "ci.yml")
	l.await(strings.TrimSpace(slowLine(slowLines / 6)))
	agent := pids(t, "agent")[0]
	if err := sys.Use(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := sys.Use(t.Context(), first); err != nil {
			t.Error(err)
		}
	}()
	if now := pids(t, "agent")[0]; now == agent || now == 0 {
		t.Errorf("the agent was not replaced: process %d, was %d", now, agent)
	}
	if got := p.theAgent().GetVersion(); got != "upgraded-build" || before == got {
		t.Errorf("the agent's version is %q, was %q", got, before)
	}
	// And back, while it still prints.
	l.await(strings.TrimSpace(slowLine(slowLines / 2)))
	if err := sys.Use(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	wantWhole(p, l)
}

// outage is how long TestAJobOutlivesItsCoordinator goes without any; SLIPWAY_OUTAGE=10m is the long version.
func outage(t *testing.T) time.Duration {
	text := os.Getenv("SLIPWAY_OUTAGE")
	if text == "" {
		return 5 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("SLIPWAY_OUTAGE: %v", err)
	}
	return d
}

// TestAJobOutlivesItsCoordinator: the job's steps follow one another while there is no coordinator at all, and no byte of theirs is lost.
func TestAJobOutlivesItsCoordinator(t *testing.T) {
	away := outage(t)
	// Three steps that together last a little longer than the outage.
	third := int(away.Seconds())/3 + 2
	var steps, want strings.Builder
	for _, name := range []string{"one", "two", "three"} {
		fmt.Fprintf(&steps, "  - run: i=1; while [ $i -le %d ]; do echo \"%s $i\"; sleep 1; i=$((i+1)); done\n", third, name)
		for i := range third {
			fmt.Fprintf(&want, "%s %d\n", name, i+1)
		}
	}
	p := workflow(t, oneJob("defaults: {run: {shell: sh}}\nsteps:\n"+steps.String()))
	id := strings.TrimSpace(p.must("run", "-d", "ci.yml"))
	begun := p.start("logs", "-f", id)
	begun.await("a | one 1")
	// Nobody starts another one: the supervisor is gone first.
	p.kill("supervisor")
	eventually(t, "the supervisor is gone", func() bool { return pids(t, "supervisor")[0] == 0 })
	p.kill("coordinator")
	began := time.Now()
	eventually(t, "the coordinator is gone", func() bool { return pids(t, "coordinator")[0] == 0 })
	<-time.After(away) // the outage is what is tested
	if err := sys.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s without any coordinator", time.Since(began).Round(time.Second))
	run := p.until(id, "ends", ended)
	if got := p.logOf(id, "a"); sum(got) != sum(want.String()) {
		t.Errorf("log: %s", difference(got, want.String()))
	}
	if j := run.GetJobs()[0]; word(j.GetState()) != "SUCCEEDED" || j.GetAttempt() != 1 {
		t.Errorf("the job: %v", j)
	}
	healthy(t)
}

// TestAJobOutlivesARestartOfContainerd: in order, not by KILL.
func TestAJobOutlivesARestartOfContainerd(t *testing.T) {
	p := workflow(t, slowSteps)
	l := p.start("run", "ci.yml")
	l.await(strings.TrimSpace(slowLine(slowLines / 6)))
	pid := pids(t, "containerd")[0]
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "containerd is back", func() bool { now := pids(t, "containerd")[0]; return now != 0 && now != pid })
	wantWhole(p, l)
}
