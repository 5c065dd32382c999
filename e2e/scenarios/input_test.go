package scenarios

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// job is a workflow with one busybox job; rest is what the job has beside `runs-on`.
func oneJob(rest string) string {
	return "on: push\njobs:\n  a:\n    runs-on: busybox\n" + indent(4, rest)
}

func indent(n int, text string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimPrefix(text, "\n")) {
		b.WriteString(strings.Repeat(" ", n) + line)
	}
	return b.String()
}

// laughs is a YAML file whose aliases stand for 9^depth values.
func laughs(depth int) string {
	var b strings.Builder
	b.WriteString("on: push\nx0: &x0 [" + strings.Repeat("lol,", 9) + "]\n")
	for i := 1; i <= depth; i++ {
		fmt.Fprintf(&b, "x%d: &x%d [%s]\n", i, i, strings.Repeat(fmt.Sprintf("*x%d,", i-1), 9))
	}
	fmt.Fprintf(&b, "jobs:\n  a:\n    runs-on: busybox\n    steps: *x%d\n", depth)
	return b.String()
}

// TestBadInput: each is refused with a message that says where and what to do, exit code 2, and nothing is started.
func TestBadInput(t *testing.T) {
	const ok = "steps: [{run: 'true', shell: sh}]\n"
	tests := []struct {
		name, file string
		says       []string
	}{
		{"unknown key", oneJob("stepps: []\n" + ok), []string{"ci.yml:5:5: error: unknown key `stepps`", "did you mean `steps`?"}},
		{"unknown key of a step", oneJob("steps:\n  - runn: ls\n    shell: sh\n"), []string{"ci.yml:6:9: error:", "did you mean `run`?"}},
		{"cycle", "on: push\njobs:\n  a: {runs-on: busybox, needs: b, " + oneLine + "}\n  b: {runs-on: busybox, needs: [a], " + oneLine + "}\n",
			[]string{"ci.yml:3:32: error: ", "a → b → a"}},
		{"job that needs itself", oneJob("needs: a\n" + ok), []string{"ci.yml:5:12: error:", "`a`"}},
		{"unknown need", oneJob("needs: [biuld]\n"+ok) + "  build: {runs-on: busybox, " + oneLine + "}\n",
			[]string{"ci.yml:5:13: error: the job `a` needs `biuld`, and there is no such job", "did you mean `build`?"}},
		{"image that does not resolve", oneJob("container: no-such-image:1\n" + ok), []string{"ci.yml:5:16", `"no-such-image:1"`, "no such image"}},
		{"service's image that does not resolve", oneJob("services:\n  db: {image: 'postgres:99'}\n" + ok), []string{"ci.yml:6:19", `"postgres:99"`}},
		{"registry that is not there", oneJob("container: 127.0.0.1:1/some/thing:1\n" + ok), []string{"ci.yml:5:16", "127.0.0.1:1/some/thing:1"}},
		{"unknown runner", strings.Replace(oneJob(ok), "busybox", "windows-latest", 1),
			[]string{"ci.yml:4:14: error:", "`runs-on: windows-latest`", "known here: bench, busybox, elsewhere, ubuntu-latest"}},
		{"bad expression", oneJob("steps:\n  - run: echo ${{ github.sha == }}\n    shell: sh\n"), []string{"ci.yml:6:34: error: bad expression: the expression ends too early"}},
		{"unclosed expression", oneJob("steps:\n  - run: echo ${{ github.sha }\n    shell: sh\n"), []string{"ci.yml:6:19: error: bad expression", "}}"}},
		{"unknown context", oneJob("if: nosuch.thing\n" + ok), []string{"ci.yml:5:9: error:", "unknown context `nosuch`"}},
		{"unknown function", oneJob("if: frob(1)\n" + ok), []string{"ci.yml:5:9: error:", "frob"}},
		{"5 MB", oneJob("steps:\n" + strings.Repeat("- {run: 'echo 0123456789', shell: sh}\n", 120_000)), []string{"ci.yml is too large", "1 MiB"}},
		{"aliases that explode", laughs(12), []string{"ci.yml:6:1", "error:", "aliases"}},
		{"alias inside itself", "on: push\njobs: &j\n  a: *j\n", []string{"ci.yml:3:6: error:", "`*j`"}},
		{"not YAML", "on: push\njobs: {a: [}\n", []string{"ci.yml:2:", "not YAML"}},
		{"prose", "just some prose\n", []string{"ci.yml:1:1: error: the file must be a mapping"}},
		{"a list", "- a\n- b\n", []string{"ci.yml:1:1: error: the file must be a mapping"}},
		{"no jobs", "on: push\n", []string{"ci.yml:1:1: error:", "`jobs`"}},
		{"empty", "", []string{"ci.yml is empty"}},
		{"only comments", "# nothing\n", []string{"ci.yml", "empty"}},
		{"binary", "\x7fELF\x02\x01\x01\x00\x00\x00", []string{"ci.yml is a binary file", "offset 7"}},
		{"no UTF-8", "on: push # \xff\xfa\n", []string{"ci.yml is not UTF-8 text"}},
		{"twice the same key", oneJob("runs-on: busybox\n" + ok), []string{"ci.yml:5:5: error:", "`runs-on`"}},
		{"extra key in a file of GitHub's folder", "", nil},
		{"option that can't be done", oneJob("services:\n  db: {image: 'postgres:15-alpine', options: --network-alias x}\n" + ok),
			[]string{"ci.yml:6:50: error:", "--network-alias is not supported"}},
		{"feature that is not supported", oneJob("environment: production\n" + ok), []string{"ci.yml:5:", "unsupported:", "environment"}},
	}
	p := newProject(t, nil)
	before := p.runIDs()
	for _, tt := range tests {
		if tt.says == nil {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			p := workflow(t, tt.file)
			refused(t, p, tt.says, "run", "ci.yml")
		})
	}
	t.Run("extra key in a file of GitHub's folder", func(t *testing.T) {
		p := newProject(t, map[string]string{".github/workflows/ci.yml": oneJob("egress: none\n" + ok)})
		refused(t, p, []string{".github/workflows/ci.yml:5:5: error:", "`egress`", ".slipway/"}, "run")
	})
	nothingStarted(t, p, before)
}

const oneLine = "steps: [{run: 'true', shell: sh}]"

// refused runs a command that must end with exit code 2 and messages on stderr that contain all of says.
func refused(t *testing.T, p *project, says []string, args ...string) {
	t.Helper()
	res := p.slipway(args...)
	if res.Code != invalid || res.Stdout != "" {
		t.Errorf("exit code %d, want %d; stdout %q, want nothing", res.Code, invalid, res.Stdout)
	}
	for _, s := range says {
		if !strings.Contains(res.Stderr, s) {
			t.Errorf("stderr does not say %q:\n%s", s, res.Stderr)
		}
	}
	for line := range strings.Lines(res.Stderr) {
		if strings.Count(res.Stderr, line) > 1 {
			t.Errorf("said twice: %s", line)
		}
	}
	if len(res.Stderr) > 4096 || strings.Contains(res.Stderr, "panic") || strings.Contains(res.Stderr, "rpc error") {
		t.Errorf("stderr is not for people:\n%.4096s", res.Stderr)
	}
}

func nothingStarted(t *testing.T, p *project, before []string) {
	t.Helper()
	if after := p.runIDs(); !slices.Equal(before, after) {
		t.Errorf("runs before %v, after %v", before, after)
	}
}

// TestBadUsage: what is no workflow file at all, and commands that are wrong.
func TestBadUsage(t *testing.T) {
	p := newProject(t, map[string]string{"ci.yml": oneJob(oneLine + "\n"), "dir.yml/x": "", "payload.json": "{", "list.json": "[]",
		".github/workflows/say.yml":  "on: {workflow_call: {inputs: {who: {type: string, required: true}}}}\njobs:\n  say: {runs-on: busybox, " + oneLine + "}\n",
		".github/workflows/call.yml": "on: release\njobs:\n  call: {uses: ./.github/workflows/say.yml, with: {who: you}}\n"})
	if err := os.Symlink("loop.yml", filepath.Join(p.dir, "loop.yml")); err != nil {
		t.Fatal(err)
	}
	before := p.runIDs()
	for _, tt := range []struct {
		name string
		args []string
		says []string
	}{
		{"missing file", []string{"run", "nope.yml"}, []string{"nope.yml: there is no such file"}},
		{"directory", []string{"run", "dir.yml"}, []string{"dir.yml is a directory"}},
		{"device", []string{"run", "/dev/zero"}, []string{"/dev/zero is not a regular file"}},
		{"link to itself", []string{"run", "loop.yml"}, []string{"loop.yml"}},
		{"program", []string{"run", "/bin/ls"}, []string{"/bin/ls is a binary file"}},
		{"no workflow that the event starts", []string{"run"}, []string{"no workflow of", "starts on push", ".github/workflows/call.yml"}},
		{"two files", []string{"run", "ci.yml", "ci.yml"}, []string{"accepts at most 1 arg"}},
		{"unknown flag", []string{"run", "--frobnicate", "ci.yml"}, []string{"unknown flag: --frobnicate", "slipway run --help"}},
		{"unknown command", []string{"rnu"}, []string{`unknown command "rnu"`}},
		{"unknown output format", []string{"run", "ci.yml", "-o", "xml"}, []string{`"xml"`, "json"}},
		{"unknown ref", []string{"run", "ci.yml", "--ref", "nope"}, nil},
		{"payload that is not JSON", []string{"run", "ci.yml", "--payload", "payload.json"}, []string{"payload.json"}},
		{"payload that is no object", []string{"run", "ci.yml", "--payload", "list.json"}, []string{"list.json", "object"}},
		{"missing payload", []string{"run", "ci.yml", "--payload", "nope.json"}, []string{"nope.json"}},
		{"no such run", []string{"runs", "show", "01zzzzzzzzzzzzzzzzzzzzzzzz"}, []string{"01zzzz"}},
		{"no such run's logs", []string{"logs", "99999"}, []string{"99999"}},
		{"nonsense for a run", []string{"runs", "show", "../../etc"}, []string{"../../etc"}},
		{"directory that is not there", []string{"run", "-C", "nope", "ci.yml"}, []string{"-C nope: there is no such directory"}},
		{"workflow that others call", []string{"run", ".github/workflows/say.yml"}, []string{"runs only when another workflow calls it", "run what calls it: .github/workflows/call.yml"}},
		{"job of a called workflow", []string{"run", ".github/workflows/call.yml", "--job", "call.say"}, []string{"name `call`"}},
		{"two names of an attempt", []string{"runs", "show", "12.1", "--attempt", "2"}, []string{"both name an attempt"}},
		{"missing token file", []string{"runs", "ls", "--token-file", "nope"}, []string{"the token file can't be read", "nope"}},
		{"missing CA", []string{"runs", "ls", "--ca", "nope"}, []string{"the coordinator's CA can't be read", "nope"}},
		{"number that is none", []string{"runs", "ls", "-n", "x"}, []string{"want a whole number"}},
		{"cancel without a run", []string{"runs", "cancel"}, []string{"1 arg"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &project{t, p.dir}
			refused(t, p, tt.says, tt.args...)
		})
	}
	nothingStarted(t, p, before)
}

// TestValidateSaysAll: all findings of all files at once, in every form, without a coordinator.
func TestValidateSaysAll(t *testing.T) {
	p := newProject(t, map[string]string{
		".github/workflows/a.yml": oneJob("needs: b\nstepps: []\n" + oneLine + "\n"),
		".github/workflows/b.yml": oneJob(oneLine + "\n"),
	})
	res := p.slipway("validate", "--address", "127.0.0.1:1")
	if res.Code != invalid {
		t.Errorf("exit code %d, want %d", res.Code, invalid)
	}
	for _, s := range []string{"a.yml:5:12: error:", "a.yml:6:5: error:", "b.yml: ok"} {
		if !strings.Contains(res.Stdout+res.Stderr, s) {
			t.Errorf("%q is not said:\n%s%s", s, res.Stdout, res.Stderr)
		}
	}
}
