package web

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// slipway runs the CLI and returns what it prints. Also for clean-ups: the test's own context has ended then.
func slipway(t *testing.T, dir string, code int, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	res, err := sys.Slipway(ctx, dir, args...)
	if err != nil {
		t.Fatal(err)
	}
	if res.Code != code {
		t.Fatalf("slipway %s: exit code %d: %s%s", strings.Join(args, " "), res.Code, res.Stdout, res.Stderr)
	}
	return res.Stdout
}

// submit starts a workflow and returns its run's id and the address of its page.
func submit(t *testing.T, workflow string) (id, url string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ci.yml"), []byte(workflow), 0o600); err != nil {
		t.Fatal(err)
	}
	var runs []struct{ ID, URL string }
	if err := json.Unmarshal([]byte(slipway(t, dir, 0, "run", "--detach", "-o", "json", "ci.yml")), &runs); err != nil || len(runs) != 1 {
		t.Fatal(runs, err)
	}
	t.Cleanup(func() {
		slipway(t, dir, 0, "runs", "cancel", runs[0].ID)
		res, err := sys.Slipway(context.WithoutCancel(t.Context()), dir, "logs", "-f", runs[0].ID) // until it has ended
		if err != nil || res.Code != 0 {
			t.Errorf("waiting for the run's end: %v: %s", err, res.Stderr)
		}
	})
	return runs[0].ID, runs[0].URL
}

// gated is a container that sees the gate.
func gated() string {
	return fmt.Sprintf(`container: {image: "busybox:latest", volumes: ["%s:/gate"]}`, gate)
}

// A browser signs in, once by its link, and follows the log of a job to its end.
func TestFollowALiveLog(t *testing.T) {
	id, url := submit(t, `
name: Release the teapot
on: push
jobs:
  build:
    name: Build and test
    runs-on: busybox
    `+gated()+`
    steps:
      - name: Fetch modules
        run: |
          echo "::group::Downloading"
          for i in $(seq 1 40); do echo "module-$i v1.$i.0"; done
          echo "::endgroup::"
          printf '\033[32mok\033[0m   40 modules, \033[1;33m2 updated\033[0m\n'
      - name: Run the tests
        run: |
          i=0
          until [ -e /gate/follow ]; do i=$((i+1)); echo "test $i: waiting for the kettle"; sleep 0.2; done
          printf '\033[1;32mPASS\033[0m the kettle boils <b>\n'
          seq 1 3000 | sed 's/^/line /'
          echo the last line of all
      - run: printf '### Results\n| suite | result |\n|---|---|\n| kettle | passed |\n\n<script>alert(1)</script>\n' >> $GITHUB_STEP_SUMMARY
  lint:
    name: Lint
    runs-on: busybox
    steps: [{run: echo clean}]
  publish:
    name: Publish
    needs: [build, lint]
    runs-on: busybox
    steps: [{run: echo published}]
`)
	if !strings.HasSuffix(url, "/runs/"+id) || !strings.Contains(slipway(t, sys.Dir, 0, "runs", "show", id), url) {
		t.Errorf("the run's page is said to be %q", url)
	}
	b := newBrowser(t)
	b.dark(false)
	b.visit(url)
	if text := b.text("main"); !strings.Contains(text, "slipway web "+id) {
		t.Fatalf("who is not signed in sees: %s", text)
	}
	link := b.signIn(id)
	b.await(`document.querySelector("#graph svg") && document.getElementById("live").classList.contains("on")`)
	b.await(`document.querySelector("#jobs li.run") && document.querySelector("#jobs li.ok")`)
	b.shoot("running")
	b.narrow()
	b.do(chromedp.EmulateViewport(1280, 900))

	b.visit(get[string](b, `[...document.querySelectorAll("#jobs a.name")].find(a => a.textContent == "Build and test").href`))
	b.await(`location.pathname.endsWith("/jobs/build") && document.getElementById("live").classList.contains("on")`)
	// Lines that were not there when the page was loaded.
	const lines = `document.querySelectorAll("#step-2-log .ln").length`
	b.await(fmt.Sprintf("%s >= %d", lines, b.number(lines)+3))
	if groups := b.number(`document.querySelectorAll("#step-1-log details.grp .ln").length`); groups != 40 {
		t.Errorf("%d lines are folded into the group", groups)
	}
	b.shoot("live-log")
	b.narrow()
	b.do(chromedp.EmulateViewport(1280, 900))
	open(t, "follow")
	b.await(`document.getElementById("live").dataset.over == "succeeded"`)
	log := b.text("#step-2-log")
	for _, want := range []string{"PASS the kettle boils <b>", "line 3000", "the last line of all"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log on the page lacks %q", want)
		}
	}
	if class := b.text("#step-2-log .f2.bd"); class != "PASS" {
		t.Errorf("in bold green is %q", class)
	}
	// The same without a script, and the summary that came with the job's end.
	tell(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.try(func() string { return url + "/jobs/build" }, `document.getElementById("summaries-title")`)
	tell(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{})
	if text := get[string](b, `document.getElementById("step-2-log").textContent`); !strings.Contains(text, "the last line of all") {
		t.Error("without a script the page lacks the log")
	}
	if cells := b.text(".summary td"); cells != "kettle\npassed" {
		t.Errorf("the summary's table has %q", cells)
	}
	// The link is spent, and the session goes with its cookie.
	b.visit(link)
	if text := b.text("main"); !strings.Contains(text, "used already") {
		t.Errorf("the link once more: %s", text)
	}
	b.visit(url)
	b.await(`document.querySelector("#head .state.ok")`)
	b.visit(get[string](b, `document.querySelector(".user a").href`))
	b.visit(url)
	if text := b.text("main"); !strings.Contains(text, "slipway web") {
		t.Errorf("after signing out: %s", text)
	}
}

func TestAFailedRun(t *testing.T) {
	id, _ := submit(t, `
name: Checks
on: push
jobs:
  unit:
    name: Unit tests
    runs-on: busybox
    steps:
      - name: Compile
        run: echo compiled
      - name: Run the tests
        run: |
          mkdir out
          echo '<testsuite name="api" tests="3" failures="1"><testcase classname="api" name="lists teapots"/><testcase classname="api" name="boils water"/><testcase classname="api" name="pours &lt;b&gt;tea&lt;/b&gt;"><failure message="expected 418, got 500">at teapot_test.go:42</failure></testcase></testsuite>' > out/r.xml
          printf '\033[31m--- FAIL: pours tea\033[0m\n'
          echo "::error file=teapot_test.go,line=42,title=pours tea::expected 418, got 500"
          echo "::warning::the kettle is old"
          printf '## Test report\n\n2 of 3 passed. See [the manual](https://example.org/teapot).\n' >> $GITHUB_STEP_SUMMARY
          exit 1
      - if: always()
        uses: actions/upload-artifact@v4
        with: {name: test-results, path: out}
  lint: {name: Lint, runs-on: busybox, steps: [{run: echo clean}]}
  deploy: {name: Deploy, needs: [unit, lint], runs-on: busybox, steps: [{run: echo deployed}]}
`)
	b := newBrowser(t)
	b.dark(true)
	b.signIn(id)
	b.await(`document.querySelector("#head .state.bad")`)
	b.visit(get[string](b, "location.href"))
	b.await(`document.querySelector("#tests") && document.querySelector(".summary")`)
	text := b.text("main")
	for _, want := range []string{"failed", "Deploy", "skipped", "expected 418, got 500", "teapot_test.go:42", "pours <b>tea</b>", "test-results", "2 of 3 passed", "3 run, 1 failed"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page of a failed run lacks %q", want)
		}
	}
	b.shoot("failed")
	b.narrow()
	b.shoot("failed-phone")
}

// A release of 60 jobs, of which some have run, one failed and one is at work.
func TestSixtyJobs(t *testing.T) {
	id, _ := submit(t, sixty())
	b := newBrowser(t)
	b.dark(false)
	b.signIn(id)
	b.await(`document.querySelectorAll(".box.run").length >= 1 && document.querySelectorAll(".box.ok").length >= 6 && document.querySelectorAll(".box.bad").length == 1`)
	if boxes := b.number(`document.querySelectorAll(".box").length`); boxes != 60 {
		t.Errorf("%d boxes", boxes)
	}
	overlap := b.number(`(() => { const r = [...document.querySelectorAll(".box rect")].map(e => e.getBoundingClientRect()); let n = 0;
		r.forEach((a, i) => r.slice(i + 1).forEach(b => { if (a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom) n++; })); return n; })()`)
	cut := b.number(`[...document.querySelectorAll(".box")].filter(e => { const r = e.querySelector("rect").getBoundingClientRect(); return [...e.querySelectorAll("text")].some(t => { const b = t.getBoundingClientRect(); return b.right > r.right || b.left < r.left; }); }).length`)
	if overlap != 0 || cut != 0 {
		t.Errorf("%d boxes overlap, %d have texts that do not fit", overlap, cut)
	}
	b.do(chromedp.EmulateViewport(1800, 1000))
	b.shoot("graph-60")
	open(t, "sixty")
}

// sixty is: 4 that prepare, 16 that build, 24 that test, 10 that check, 5 that deploy, 1 that announces.
func sixty() string {
	var b strings.Builder
	b.WriteString("name: Release train\non: push\njobs:\n")
	n := 0
	job := func(name string, run string, needs ...string) {
		n++
		fmt.Fprintf(&b, "  %s:\n    runs-on: busybox\n    needs: [%s]\n    %s\n    steps: [{run: '%s'}]\n", name, strings.Join(needs, ", "), gated(), run)
	}
	named := func(kind string, i int) string { return fmt.Sprintf("%s-%d", kind, i) }
	for i := range 4 {
		job(named("prepare", i), "echo ready")
	}
	for i := range 16 {
		run := "until [ -e /gate/sixty ]; do sleep 0.2; done"
		switch {
		case i%8 == 3:
			run = "exit " + fmt.Sprint(i/8) // the second of them fails
		case i%4 != 3:
			run = "echo built"
		}
		job(named("build", i), run, named("prepare", i/4))
	}
	for i := range 24 {
		needs := []string{named("build", i*2/3)}
		if i%4 == 0 {
			needs = append(needs, named("build", (i*2/3+5)%16))
		}
		run := "echo tested"
		if i > 4 {
			run = "until [ -e /gate/sixty ]; do sleep 0.2; done"
		}
		job(named("test", i), run, needs...)
	}
	for i := range 10 {
		job(named("check", i), "echo checked", named("test", 2*i), named("test", 2*i+4))
	}
	for i := range 5 {
		job(named("deploy", i), "echo deployed", named("check", 2*i), named("check", 2*i+1), named("prepare", 0))
	}
	job("announce-the-release-to-everybody", "echo announced", "deploy-0", "deploy-1", "deploy-2", "deploy-3", "deploy-4")
	if n != 60 {
		panic(n)
	}
	return b.String()
}
