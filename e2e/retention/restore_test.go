package retention

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// stack is a coordinator and an agent, as processes of their own, with directories of their own.
type stack struct {
	t             *testing.T
	bin, dir      string
	data, address string
	coordinator   *exec.Cmd
}

func binary(t *testing.T) string {
	t.Helper()
	bin := os.Getenv("SLIPWAY_BIN")
	if bin == "" {
		bin = filepath.Join("..", "..", "bin", "slipway")
	}
	bin, err := filepath.Abs(bin)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(bin); errors.Is(err, fs.ErrNotExist) {
		t.Skip("no slipway binary: run `make build` first, or set SLIPWAY_BIN")
	}
	return bin
}

func newStack(t *testing.T) *stack {
	t.Helper()
	dir, err := os.MkdirTemp("", "slr") // short: sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &stack{t: t, bin: binary(t), dir: dir, data: filepath.Join(dir, "data"), address: freeAddress(t)}
	s.write("coordinator.yaml", "runners: {any: {image: scratch, pool: lab}}\nretention: {seal_after: 100ms, every: 500ms, blob_grace: 1s}\nagents: {grace: 1m0s}\n")
	s.write(".slipway/ci.yml", "on: push\njobs:\n  a:\n    runs-on: any\n    steps: [{run: 'for i in 1 2 3 4 5 6 7 8 9; do echo line $i of $GITHUB_RUN_NUMBER; done', shell: sh}]\n"+
		"  b:\n    needs: a\n    runs-on: any\n    steps: [{run: 'echo second', shell: sh}]\n")
	return s
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func (s *stack) write(name, text string) {
	s.t.Helper()
	p := filepath.Join(s.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o700), os.WriteFile(p, []byte(text), 0o600)); err != nil {
		s.t.Fatal(err)
	}
}

// command of this stack, in its directory.
func (s *stack) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.t.Context(), s.bin, args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "XDG_DATA_HOME=" + s.dir + "/xdg", "XDG_CONFIG_HOME=" + s.dir + "/xdg", "XDG_STATE_HOME=" + s.dir + "/xdg",
		"XDG_RUNTIME_DIR=" + s.dir + "/xdg", "SLIPWAY_ADDRESS=" + s.address, "SLIPWAY_CA=" + s.data + "/pki/ca.pem"}
	if token, err := os.ReadFile(filepath.Join(s.data, "admin.token")); err == nil {
		cmd.Env = append(cmd.Env, "SLIPWAY_TOKEN="+strings.TrimSpace(string(token)))
	}
	return cmd
}

// run runs a command to its end.
func (s *stack) run(args ...string) (out string, code int) {
	s.t.Helper()
	cmd := s.command(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	if code = cmd.ProcessState.ExitCode(); code != 0 {
		s.t.Logf("%v: exit code %d\n%s%s", args, code, stdout.String(), stderr.String())
	}
	return stdout.String(), code
}

func (s *stack) must(args ...string) string {
	s.t.Helper()
	out, code := s.run(args...)
	if code != 0 {
		s.t.Fatalf("%v: exit code %d", args, code)
	}
	return out
}

// serve starts the coordinator and waits until it answers.
func (s *stack) serve() {
	s.t.Helper()
	s.coordinator = s.command("coordinator", "--config", "coordinator.yaml", "--data", s.data, "--listen", s.address, "--metrics", freeAddress(s.t))
	s.start(s.coordinator, "coordinator.log")
	s.await("the coordinator answers", func() bool {
		cmd := s.command("runs", "ls")
		return cmd.Run() == nil
	})
}

func (s *stack) start(cmd *exec.Cmd, log string) {
	s.t.Helper()
	f, err := os.OpenFile(filepath.Join(s.dir, log), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if s.t.Failed() {
			text, _ := os.ReadFile(filepath.Join(s.dir, log))
			s.t.Logf("%s:\n%s", log, tail(string(text), 3000))
		}
	})
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

func (s *stack) kill() {
	s.t.Helper()
	if err := s.coordinator.Process.Kill(); err != nil {
		s.t.Fatal(err)
	}
	_ = s.coordinator.Wait()
}

// await asks again until it is so.
func (s *stack) await(what string, is func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-ctx.Done():
			s.t.Fatalf("%s: not within a minute", what)
		case <-tick.C:
		}
	}
}

type report struct {
	Bundles  int `json:"bundles"`
	LiveRuns int `json:"live_runs"`
	Findings []struct{ Where, What, Do string }
}

func (s *stack) check(wantCode int, args ...string) report {
	s.t.Helper()
	out, code := s.run(append([]string{"admin", "check", "--config", "coordinator.yaml", "--data", s.data, "-o", "json"}, args...)...)
	var r report
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != wantCode {
		s.t.Fatalf("admin check: exit code %d, want %d: %v\n%s", code, wantCode, err, out)
	}
	return r
}

// sums are the SHA-256 of everything that people see of the runs.
func (s *stack) sums(n int) map[string]string {
	s.t.Helper()
	out := map[string]string{}
	add := func(what, text string) {
		sum := sha256.Sum256([]byte(text))
		out[what] = hex.EncodeToString(sum[:])
	}
	add("ls", s.must("runs", "ls", "-o", "json", "-n", "1000"))
	for i := 1; i <= n; i++ {
		number := fmt.Sprintf("#%d", i)
		add("show "+number, s.must("runs", "show", number, "-o", "json"))
		logs := s.must("logs", "--raw", number)
		if want := fmt.Sprintf("line 9 of %d\n", i); !strings.Contains(logs, want) {
			s.t.Fatalf("the logs of run %s lack %q:\n%s", number, want, logs)
		}
		add("logs "+number, logs)
	}
	return out
}

// A coordinator is backed up while it runs, and killed; another one on the copy shows the same runs and the same logs, byte for byte.
func TestABackupOfAKilledCoordinatorHasAllOfIt(t *testing.T) {
	s := newStack(t)
	s.serve()
	s.write("join", s.must("agents", "join-token", "--pool", "lab", "--labels", "process"))
	s.write("agent.yaml", "coordinator: "+s.address+"\ndata_dir: "+s.dir+"/agent\nrun_dir: "+s.dir+"/run\nca: "+s.data+"/pki/ca.pem\ntoken_file: "+s.dir+"/join\nsandbox: {kind: process, cgroup: none}\n")
	s.start(s.command("agent", "--config", "agent.yaml"), "agent.log")
	const runs = 4
	for range runs {
		s.must("run", ".slipway/ci.yml")
	}
	s.await("all runs are sealed", func() bool { return s.check(0).LiveRuns == 0 })
	before := s.sums(runs)

	s.must("admin", "backup", "--config", "coordinator.yaml", "--data", s.data, s.dir+"/copy")
	s.must("admin", "backup", "--config", "coordinator.yaml", "--data", s.data, s.dir+"/copy.tar")
	s.kill()
	if _, code := s.run("admin", "restore", s.dir+"/copy", "--config", "coordinator.yaml", "--data", s.data); code != 2 {
		t.Errorf("a restore over a data directory in use: exit code %d, want 2", code)
	}
	old := s.data
	for _, from := range []string{"copy", "copy.tar"} {
		s.data = filepath.Join(s.dir, "restored-"+from)
		s.must("admin", "restore", s.dir+"/"+from, "--config", "coordinator.yaml", "--data", s.data)
		if r := s.check(0); r.Bundles != runs {
			t.Errorf("%s: %d bundles, want %d", from, r.Bundles, runs)
		}
		s.serve()
		after := s.sums(runs)
		for what, sum := range before {
			if after[what] != sum {
				t.Errorf("%s: `%s` is not what it was", from, what)
			}
		}
		s.kill()
	}
	damage(s, old)
}

// damage shows that a check finds what is wrong, and says what to do.
func damage(s *stack, data string) {
	s.t.Helper()
	s.data = data
	if r := s.check(0, "--rebuild-index"); r.Bundles == 0 {
		s.t.Error("nothing was checked")
	}
	blobs, err := filepath.Glob(filepath.Join(data, "blobs", "sha256", "*", "*"))
	if err != nil || len(blobs) == 0 {
		s.t.Fatal(blobs, err)
	}
	for _, p := range blobs {
		whole, err := os.ReadFile(p)
		if err != nil {
			s.t.Fatal(err)
		}
		if !bytes.HasPrefix(whole, []byte("slipway bundle 1\n")) {
			continue
		}
		other := bytes.Clone(whole)
		other[len(other)-1] ^= 1
		if err := errors.Join(os.Remove(p), os.WriteFile(p, other, 0o400)); err != nil {
			s.t.Fatal(err)
		}
		r := s.check(1)
		if len(r.Findings) == 0 || r.Findings[0].Do == "" {
			s.t.Errorf("a changed bundle: %+v", r.Findings)
		}
		if err := errors.Join(os.Remove(p), os.WriteFile(p, whole, 0o400)); err != nil {
			s.t.Fatal(err)
		}
		break
	}
	s.check(0)
}
