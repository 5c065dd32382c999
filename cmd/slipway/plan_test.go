package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/internal/apitest"
	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/internal/tui"
)

const chain = `on: push
jobs:
  build: {runs-on: ubuntu-latest, steps: [{run: make}]}
  test: {runs-on: ubuntu-latest, needs: build, steps: [{run: make test}]}
  deploy: {runs-on: ubuntu-latest, needs: test, steps: [{run: ./deploy}]}
`

const unsupported = `on: push
jobs:
  a: {runs-on: ubuntu-latest, steps: [{uses: someone/thing@0123456789abcdef0123456789abcdef01234567}, {run: make}]}
`

func TestRunJob(t *testing.T) {
	s := apitest.Start(t)
	c := newCLI(t, s)
	c.write("chain.yml", chain)
	if code, _, errOut := c.run("run", "--job", "test", "chain.yml"); code != exit.OK {
		t.Fatal(code, errOut)
	}
	if got := s.Runs()[0].Request.GetJobs(); len(got) != 1 || got[0] != "test" {
		t.Errorf("submitted %q", got)
	}
	for args, want := range map[string]string{
		"run --job tset chain.yml": "did you mean `test`", "run --job= chain.yml": "needs the id", "plan --job nope chain.yml": "it has build, test, deploy",
		"run -d --dry-run chain.yml": "none of the others can be",
	} {
		if code, _, errOut := c.run(strings.Fields(args)...); code != exit.Invalid || !strings.Contains(errOut, want) {
			t.Errorf("%s: %d, %q; want %q", args, code, errOut, want)
		}
	}
	if n := s.Calls("SubmitRun"); n != 1 {
		t.Errorf("%d submits", n)
	}
}

func TestDryRun(t *testing.T) {
	s := apitest.Start(t)
	c := newCLI(t, s)
	c.write("chain.yml", chain)
	c.write("unsupported.yml", unsupported)
	code, out, errOut := c.run("run", "--dry-run", "--job", "test", "chain.yml")
	if code != exit.OK || !strings.Contains(out, "in pool default") || !strings.Contains(out, "Nothing was started") || strings.Contains(out, "deploy") {
		t.Errorf("%d, %q, %q", code, out, errOut)
	}
	code, out, _ = c.run("run", "--dry-run", "-o", "json", "chain.yml")
	var all []map[string]any
	if err := json.Unmarshal([]byte(out), &all); code != exit.OK || err != nil || all[0]["resolved"] != true {
		t.Errorf("%d, %v, %q", code, err, out)
	}
	for _, args := range []string{"run --dry-run unsupported.yml", "run unsupported.yml", "plan --resolve unsupported.yml", "validate --runnable unsupported.yml"} {
		code, out, errOut := c.run(strings.Fields(args)...)
		if code != exit.Invalid || !strings.Contains(out+errOut, "unsupported: the action `someone/thing@") {
			t.Errorf("%s: %d, %q", args, code, errOut)
		}
	}
	s.Stop()
	if code, _, _ := c.run("run", "--dry-run", "chain.yml"); code != exit.System {
		t.Errorf("without a coordinator: %d", code)
	}
	if n := s.Calls("SubmitRun"); n != 0 {
		t.Errorf("%d submits", n)
	}
}

func TestPlan(t *testing.T) {
	s := apitest.Start(t)
	c := newCLI(t, s)
	c.write("chain.yml", chain)
	c.write("unsupported.yml", unsupported)
	c.write("wrong.yml", strings.Replace(chain, "needs: test", "needs: nope", 1))
	for args, parts := range map[string][]string{
		"plan chain.yml":                      {"starts on push", "after    build", "in pool default"},
		"plan --offline chain.yml":            {"images are named, not resolved: --offline"},
		"plan --event pull_request chain.yml": {"does not start on pull_request: its `on` does not name pull_request"},
		"plan -o dot chain.yml":               {`"0/build" -> "0/test";`},
		"plan -o json unsupported.yml":        {`"runnable": false`, "is not supported yet", `"unresolved": "a coordinator compiles only what it can run"`},
		"plan unsupported.yml":                {"! 1. someone/thing@", "slipway run` refuses"},
		"validate unsupported.yml":            {"valid, but it can't run here yet: 1 of its features"},
		"validate -o json unsupported.yml":    {`"valid": true`, `"runnable": false`, `"severity": "unsupported"`},
	} {
		code, out, errOut := c.run(strings.Fields(args)...)
		for _, p := range parts {
			if code != exit.OK || !strings.Contains(strings.Join(strings.Fields(out), " "), strings.Join(strings.Fields(p), " ")) {
				t.Errorf("%s: %d, %q, %q; want %q", args, code, out, errOut, p)
			}
		}
	}
	for args, want := range map[string]string{
		"plan wrong.yml": "there is no such job", "plan nope.yml": "no such file", "plan -o yaml chain.yml": "unknown output format", "plan a b": "accepts at most 1 arg",
		"plan --resolve --offline chain.yml": "none of the others can be",
	} {
		if code, out, errOut := c.run(strings.Fields(args)...); code != exit.Invalid || !strings.Contains(errOut, want) || out != "" {
			t.Errorf("%s: %d, %q, %q; want %q", args, code, out, errOut, want)
		}
	}
	c.size = &tui.Size{Width: 60, Height: 20}
	if _, out, _ := c.run("plan", "chain.yml"); strings.Contains(out, "\x1b[") != (c.env["NO_COLOR"] == "" && c.env["TERM"] != "dumb") {
		t.Errorf("on a terminal: %q", out)
	}
	c.size = nil
	s.Stop()
	if code, out, errOut := c.run("plan", "chain.yml"); code != exit.OK || !strings.Contains(out, "the coordinator can't be reached") {
		t.Errorf("without a coordinator: %d, %q, %q", code, out, errOut)
	}
	if code, _, _ := c.run("plan", "--resolve", "chain.yml"); code != exit.System {
		t.Errorf("--resolve without a coordinator: %d", code)
	}
}

// TestWorkflowsOfOthers validates and plans every workflow of a folder that SLIPWAY_TEST_WORKFLOWS names: files that were written for GitHub
// and without a thought of Slipway.
func TestWorkflowsOfOthers(t *testing.T) {
	dir := os.Getenv("SLIPWAY_TEST_WORKFLOWS")
	if dir == "" {
		t.Skip("SKIPPED, NOT TESTED: set SLIPWAY_TEST_WORKFLOWS to a folder of workflow files")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.yml"))
	if err != nil || len(files) == 0 {
		t.Fatal("no files: ", dir, err)
	}
	c := newCLI(t, apitest.Start(t))
	for _, f := range files {
		for _, args := range [][]string{{"validate", f}, {"plan", "--offline", f}, {"plan", "--offline", "-o", "json", f}, {"plan", "--offline", "-o", "dot", f}} {
			code, out, errOut := c.run(args...)
			if code != exit.OK {
				t.Errorf("%v: %d, %s%s", args, code, out, errOut)
			}
		}
		code, out, errOut := c.run("run", f)
		if _, plan, _ := c.run("plan", "--offline", "-o", "json", f); strings.Contains(plan, `"runnable": false`) != (code == exit.Invalid) {
			t.Errorf("run %s: %d, %s%s", f, code, out, errOut)
		}
	}
}
