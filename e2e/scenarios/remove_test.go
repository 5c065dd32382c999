package scenarios

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// named finds an agent by its host name; nil if it is not listed.
func (p *project) named(hostname string) *apiv1.Agent {
	p.t.Helper()
	cl, err := sys.Client()
	if err != nil {
		p.t.Fatal(err)
	}
	defer cl.Release()
	all, err := cl.Agents(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	for _, a := range all {
		if a.GetHostname() == hostname {
			return a
		}
	}
	return nil
}

// TestARemovedAgentIsNotLetInAgain: an agent of another pool is removed while it runs; its certificate, which has not ended, is refused.
func TestARemovedAgentIsNotLetInAgain(t *testing.T) {
	t.Parallel()
	p := workflow(t, oneJob("steps: [{run: echo here, shell: sh}]\n"))
	cl, err := sys.Client()
	if err != nil {
		t.Fatal(err)
	}
	address := cl.Address()
	cl.Release()
	dir := t.TempDir()
	p.write("token", p.must("agents", "join-token", "--pool", "removed", "--labels", "process"))
	p.write("agent.yaml", "coordinator: "+address+"\ndata_dir: "+dir+"/data\nrun_dir: "+dir+"/run\nhostname: to-be-removed\ntoken_file: "+p.dir+"/token\nsandbox: {kind: process, cgroup: none}\n")
	out := newLines()
	start := func() *exec.Cmd {
		t.Helper()
		cmd := sys.Command(t.Context(), p.dir, "agent", "--config", "agent.yaml")
		cmd.Stderr = out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	stop := func(cmd *exec.Cmd) {
		t.Helper()
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("an agent without jobs does not leave in order: %v\n%s", err, out)
		}
	}
	agent := start()
	eventually(t, "the agent is online", func() bool { return p.named("to-be-removed").GetState() == "online" })
	if said := p.must("agents", "rm", "to-be-removed"); !strings.Contains(said, "removed agent ") {
		t.Errorf("rm says %q", said)
	}
	if _, ok := out.await("was removed from this coordinator", patience); !ok {
		t.Errorf("the agent does not say that it was removed:\n%s", out)
	}
	stop(agent)
	agent = start()
	if _, ok := out.await(`"msg":"agent starting"`, patience); !ok {
		t.Fatalf("no agent:\n%s", out)
	}
	eventually(t, "the second process is refused, too", func() bool { return strings.Count(out.String(), "was removed from this coordinator") >= 2 })
	if a := p.named("to-be-removed"); a != nil {
		t.Errorf("it is listed: %v", a)
	}
	stop(agent)
}

// TestStepsAreKilledBeforeTheAgent: when memory runs out, the kernel takes a step first.
func TestStepsAreKilledBeforeTheAgent(t *testing.T) {
	t.Parallel()
	p := workflow(t, oneJob("steps: [{run: cat /proc/self/oom_score_adj, shell: sh}]\n"))
	step, err := strconv.Atoi(strings.TrimSpace(p.run(succeeded).log("a")))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pids(t, "agent")[0]), "oom_score_adj"))
	if err != nil {
		t.Fatal(err)
	}
	agent, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || agent >= step {
		t.Errorf("the agent's score is %d, a step's %d, %v", agent, step, err)
	}
	if mayLowerScores(t) && agent > -500 {
		t.Errorf("the agent's score is %d, and could be lower", agent)
	}
}

// mayLowerScores is whether root may do that here: in some containers it may not (CAP_SYS_RESOURCE, capability 24).
func mayLowerScores(t *testing.T) bool {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "CapEff:")
	hex, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
	caps, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return caps&(1<<24) != 0
}
