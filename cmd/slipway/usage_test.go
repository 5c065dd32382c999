package main

import (
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/slipway-ci/slipway/internal/apitest"
	"github.com/slipway-ci/slipway/internal/cli/exit"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// full is a disk with room for a few bytes.
type full struct{ room int }

func (f *full) Write(b []byte) (int, error) {
	n := min(len(b), f.room)
	f.room -= n
	if n < len(b) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

// TestAnAnswerThatCanNotBeWritten is noticed by every command, said once, and no success.
func TestAnAnswerThatCanNotBeWritten(t *testing.T) {
	s := apitest.Start(t)
	s.Script = finish(corev1.RunState_RUN_STATE_SUCCEEDED, corev1.JobState_JOB_STATE_SUCCEEDED)
	c := newCLI(t, s)
	c.write("ci.yml", hello)
	c.write("bad.yml", strings.Replace(hello, "steps", "stepz", 1))
	c.run("run", "ci.yml")
	for args, want := range map[string]exit.Code{
		"run ci.yml": exit.System, "run ci.yml -o json": exit.System, "run -d ci.yml": exit.System, "runs ls": exit.System, "runs show": exit.System,
		"runs show -o json": exit.System, "logs": exit.System, "logs -f": exit.System, "logs --raw": exit.System, "artifacts ls": exit.System,
		"plan ci.yml": exit.System, "plan --offline ci.yml -o dot": exit.System, "agents ls": exit.System, "tokens create --user a": exit.System,
		"runs cancel 1": exit.System, "eval 1": exit.System, "schema": exit.System, "version": exit.System, "--version": exit.System, "--help": exit.System,
		"help runs": exit.System, "completion bash": exit.System, "validate ci.yml": exit.System, "validate bad.yml": exit.Invalid,
	} {
		for _, room := range []int{0, 1} {
			a := c.app()
			a.out = &full{room}
			before := c.stderr.String()
			code := a.main(t.Context(), strings.Fields(args))
			errOut := strings.TrimPrefix(c.stderr.String(), before)
			if code != want || strings.Count(errOut, "writing the output: no space left on device") != 1 {
				t.Errorf("%s, room for %d bytes: exit code %d, %q; want %d", args, room, code, errOut, want)
			}
		}
	}
	if _, err := (&sink{w: io.Discard}).Write([]byte("x")); err != nil {
		t.Error(err)
	}
}

func TestVersionFlag(t *testing.T) {
	c := newCLI(t, nil)
	code, flag, _ := c.run("--version")
	if _, command, _ := c.run("version"); code != exit.OK || flag != command || !strings.HasPrefix(flag, "slipway ") {
		t.Errorf("%d: %q, the command says %q", code, flag, command)
	}
}

// TestFilesThatFlagsName: one that is not there or not usable is wrong usage.
func TestFilesThatFlagsName(t *testing.T) {
	s := apitest.Start(t)
	c := newCLI(t, s)
	c.write("empty", "\n")
	c.write("ci.yml", hello)
	c.write("sub/ci.yml", strings.Replace(hello, "steps", "stepz", 1))
	for args, want := range map[string]string{
		"runs ls --token-file nope":           "the token file can't be read: open nope: no such file or directory",
		"runs ls --token-file empty":          "the token file empty is empty",
		"runs ls --ca nope":                   "the coordinator's CA can't be read: open nope: no such file or directory",
		"runs ls --ca empty":                  "the coordinator's CA is not usable",
		"runs ls --address ci.example.org":    `address "ci.example.org" has no port: write it as host:port`,
		"runs ls --context nope":              `under the name "nope" (there is none)`,
		"runs show #1.2 --attempt 1":          "both name an attempt",
		"runs ls -n x":                        `invalid argument "x" for "-n, --limit" flag: want a whole number`,
		"runs ls -n 99999999999":              "want a smaller number",
		"runs rerun 1 --failed=maybe":         "want true or false",
		"agents drain a --deadline soon":      `"--deadline" flag: want a time such as 90s, 30m or 2h`,
		"tokens create --user a --ttl -5m":    "--ttl -5m0s: it can't be in the past",
		"agents join-token --ttl -5m":         "--ttl -5m0s: it can't be in the past",
		"runs rerun 1 --hold-on-failure=0s":   "it is at least 1s",
		"run -C nope ci.yml":                  "-C nope: there is no such directory",
		"run -C nope":                         "-C nope: there is no such directory",
		"plan -C ci.yml":                      "-C ci.yml: it is not a directory",
		"run -C sub ci.yml":                   "unknown key `stepz`", // of the one in there
		"run -C sub ci.yml --payload nope.js": "sub/nope.js: there is no such file",
	} {
		if code, out, errOut := c.run(strings.Fields(args)...); code != exit.Invalid || !strings.Contains(errOut, want) || out != "" {
			t.Errorf("%s: exit code %d, %q%q; want 2 and %q", args, code, out, errOut, want)
		}
	}
	if n := s.Calls("SubmitRun"); n != 0 {
		t.Errorf("%d submits arrived", n)
	}
}

// TestWorkflowsThatOthersCall can't be run by themselves, nor can their jobs alone.
func TestWorkflowsThatOthersCall(t *testing.T) {
	s := apitest.Start(t)
	c := newCLI(t, s)
	const called = "on:\n  workflow_call:\n    inputs:\n      who: {type: string, required: true}\n" +
		"jobs:\n  say:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo ${{ inputs.who }}\n"
	c.write(".github/workflows/say.yml", called)
	c.write(".github/workflows/alone.yml", called)
	c.write(".github/workflows/ci.yml", "on: push\njobs:\n  call:\n    uses: ./.github/workflows/say.yml\n    with: {who: you}\n  own:\n    runs-on: x\n    steps: [{run: a}]\n")
	c.write(".github/workflows/deep.yml", "on: workflow_call\njobs:\n  call:\n    uses: ./.github/workflows/say.yml\n    with: {who: you}\n")
	for args, want := range map[string]string{
		"run .github/workflows/say.yml":                       "runs only when another workflow calls it",
		"run --dry-run .github/workflows/say.yml":             "run what calls it: .github/workflows/ci.yml\n",
		"run .github/workflows/alone.yml":                     "no workflow here calls it; to run it by itself, add `workflow_dispatch:`",
		"plan --offline --job call.say":                       "`say` is a job of the workflow that `call` calls, and a call runs as a whole: name `call`",
		"plan --offline --job own.1 .github/workflows/ci.yml": "name `own`",
		"run --job call.say":                                  "name `call`",
	} {
		if code, out, errOut := c.run(strings.Fields(args)...); code != exit.Invalid || !strings.Contains(errOut, want) {
			t.Errorf("%s: exit code %d, %q%q; want 2 and %q", args, code, out, errOut, want)
		}
	}
	if n := s.Calls("SubmitRun"); n != 0 {
		t.Errorf("%d submits arrived", n)
	}
	if code, out, errOut := c.run("plan", "--offline", ".github/workflows/say.yml"); code != exit.OK || !strings.Contains(out, "say") {
		t.Errorf("its plan: %d %q %q", code, out, errOut)
	}
}

// TestIDFile: a script knows the runs that it started, whatever else runs.
func TestIDFile(t *testing.T) {
	s := apitest.Start(t)
	c := newCLI(t, s)
	c.write("ci.yml", hello)
	if code, _, errOut := c.run("run", "--id-file", "ids", "ci.yml"); code != exit.OK {
		t.Fatal(code, errOut)
	}
	if ids, err := os.ReadFile("ids"); err != nil || string(ids) != s.Runs()[0].ID()+"\n" {
		t.Errorf("%q %v", ids, err)
	}
	if code, _, errOut := c.run("run", "--id-file", "no/such/directory", "ci.yml"); code != exit.System || !strings.Contains(errOut, "started "+s.Runs()[1].ID()) {
		t.Errorf("%d %q", code, errOut)
	}
}

// TestCompletion offers what a command takes, and no files where it takes none.
func TestCompletion(t *testing.T) {
	s := apitest.Start(t)
	s.Script = finish(corev1.RunState_RUN_STATE_SUCCEEDED, corev1.JobState_JOB_STATE_SUCCEEDED)
	c := newCLI(t, s)
	c.write("ci.yml", hello)
	c.run("run", "ci.yml")
	c.run("run", "ci.yml")
	for args, want := range map[string]string{
		"runs show|": "2.1\tCI, succeeded\n1.1\tCI, succeeded\n:36\n", "runs cancel|2": "2.1\tCI, succeeded\n:36\n", "runs rerun|1.1|": ":4\n",
		"logs|1.1|": "hello\thello, succeeded\n:36\n", "why|2.1|x": ":36\n", "debug|1.1|": "hello\thello, succeeded\n:36\n", "logs|1|hello|": ":36\n",
		"artifacts get|1.1|": ":4\n", "artifacts ls|": "2.1\tCI, succeeded\n1.1\tCI, succeeded\n:36\n", "runs ls|-o|": "text\njson\n:4\n",
	} {
		given := strings.Split(args, "|")
		given = append(append([]string{"__complete"}, strings.Fields(given[0])...), given[1:]...)
		if code, out, _ := c.run(given...); code != exit.OK || out != want {
			t.Errorf("%s: %d %q, want %q", args, code, out, want)
		}
	}
}
