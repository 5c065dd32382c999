package web_test

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/slipway-ci/slipway/coordinator/web"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"), goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"))
}

const hostile = `<script>alert("x")</script><img src=x onerror=alert(1)>"'` + "`{{.}}"

// hostileRun has that name wherever a workflow can put one.
func hostileRun() *apiv1.Run {
	failure := &corev1.Failure{Code: hostile, Message: hostile}
	return &apiv1.Run{Id: runID, Number: 12, Name: hostile, Path: hostile, Event: hostile, Actor: hostile, Project: hostile, State: corev1.RunState_RUN_STATE_FAILED, Reason: hostile, Failure: failure,
		CreatedMs: now.UnixMilli() - 5000, EndedMs: now.UnixMilli(), Source: &corev1.Source{Repository: hostile, Ref: hostile, Sha: strings.Repeat("a", 40)}, RerunBy: hostile, RerunOf: hostile,
		Jobs: []*apiv1.Job{
			{Id: "build", Key: "build", Name: hostile, State: corev1.JobState_JOB_STATE_FAILED, Attempt: 2, AttemptId: attempt, Agent: hostile, StartedMs: now.UnixMilli() - 4000, EndedMs: now.UnixMilli(),
				Reason: hostile, Failure: failure, Outputs: map[string]string{hostile: hostile},
				Tries:       []*corev1.Try{{Number: 1, AttemptId: hostile, Ending: hostile, Reason: hostile, Agent: hostile}},
				Annotations: []*corev1.Annotation{{Level: "error", Message: hostile, Title: hostile, File: hostile, Line: 3}},
				Steps: []*corev1.StepStatus{{Number: 0, Name: hostile, State: corev1.StepState_STEP_STATE_FAILED, ExitCode: 3, Failure: failure, EndedMs: 100},
					{Number: 1, Name: "Complete job", State: corev1.StepState_STEP_STATE_SUCCEEDED}}},
			{Id: "t.0", Key: "t", Name: hostile, Needs: []string{"build"}, State: corev1.JobState_JOB_STATE_SKIPPED, Reason: hostile},
		},
		Artifacts: []*corev1.Artifact{{Name: "a b?#" + `"'&`, Size: 11, Files: 1, JobId: hostile, Tests: &corev1.TestSummary{Tests: 3, Failures: 1,
			Failed: []*corev1.TestCase{{Suite: hostile, Name: hostile, Message: hostile}}}}}}
}

// tags that pages may have, by their beginnings; whatever a workflow wrote would be another.
var alive = regexp.MustCompile(`(?i)<(script(?: src="/static/[0-9a-f]{16}/live\.js" defer)?|img|iframe|object|embed|style|form|base|meta|link)\b[^>]*>|\son[a-z]+=|\sstyle=|(?:href|src)="?javascript:`)

// expected are those of them that are our own.
var expected = regexp.MustCompile(`^(<script src="/static/[0-9a-f]{16}/live\.js" defer>|<meta (charset|name)="[^<>]*">|<link rel="(icon|stylesheet)" href="/static/[^<>]*">|<form class="filters" [^<>]*>)$`)

func TestHostileNamesAreText(t *testing.T) {
	f := newFake(hostileRun())
	f.logs = map[uint32]string{0: hostile + "\n::group::" + hostile + "\n::error::" + hostile + "\n", 1: "Summary of step 0, " + hostile + ":\n# Hi\n" + hostile + "\n[x](javascript:alert(1))\n"}
	b := serve(t, f)
	q := "?attempt=" + attempt + "&step=0&before=9999"
	for _, path := range []string{"/", "/?pipeline=%22%3E%3Cscript%3E&branch=%3Cb%3E&actor='x", "/runs/" + runID, "/runs/" + runID + "/jobs/build", "/runs/" + runID + "/jobs/build?attempt=" + `%3Cscript%3Ealert(%22x%22)%3C/script%3E%3Cimg%20src=x%20onerror=alert(1)%3E%22'` + "%60%7B%7B.%7D%7D",
		"/runs/" + runID + "/jobs/build/log" + q, "/runs/" + runID + "/jobs/build/log" + q + "&part=1", "/runs/%3Cscript%3E", "/runs/" + runID + "/jobs/%3Cscript%3E", "/%3Cscript%3E", "/?status=%3Cscript%3E"} {
		_, body := b.get(path)
		for _, tag := range alive.FindAllString(regexp.MustCompile(`&#?[a-z0-9]+;[^<]*`).ReplaceAllString(body, ""), -1) {
			if !expected.MatchString(tag) {
				t.Errorf("%s has %q", path, tag)
			}
		}
		if strings.Contains(body, "ZgotmplZ") {
			t.Errorf("%s has a text where none may be", path)
		}
	}
	body := b.page("/runs/" + runID)
	for _, want := range []string{"&lt;script&gt;alert(&#34;x&#34;)", "/artifacts/a%20b%3F%23%22%27&amp;", "<h1>Hi</h1>", "<svg", "#12"} {
		if !strings.Contains(body, want) {
			t.Errorf("the run's page lacks %s", want)
		}
	}
}

func TestEveryPageNeedsASession(t *testing.T) {
	f := newFake(hostileRun())
	b := serve(t, f)
	paths := []string{"/", "/runs/" + runID, "/runs/" + runID + "/events", "/runs/" + runID + "/jobs/build", "/runs/" + runID + "/jobs/build/log?attempt=a&step=0&before=1", "/runs/" + runID + "/jobs/build/raw?attempt=a&step=0",
		"/runs/" + runID + "/jobs/build/events", "/runs/" + runID + "/artifacts/x"}
	for _, path := range paths {
		for _, cookies := range []string{"", cookie + "=other", "other=session"} {
			if resp := b.do(http.MethodGet, path, "Cookie", cookies); resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s with %q: %d", path, cookies, resp.StatusCode)
			}
		}
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions} {
			if resp := b.do(method, path); resp.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, path, resp.StatusCode)
			}
		}
	}
	header := b.do(http.MethodGet, "/").Header
	for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "X-Frame-Options": "DENY"} {
		if got := header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	csp := header.Get("Content-Security-Policy")
	for _, bad := range []string{"unsafe", "*", "data:", "http"} {
		if strings.Contains(csp, bad) || !strings.HasPrefix(csp, "default-src 'none'") {
			t.Errorf("policy %q", csp)
		}
	}
}

func TestSignIn(t *testing.T) {
	f := newFake(hostileRun())
	b := serve(t, f)
	if resp := b.do(http.MethodHead, "/signin?code=good"); resp.StatusCode != http.StatusForbidden {
		t.Errorf("HEAD: %d", resp.StatusCode)
	}
	if resp := b.do(http.MethodGet, "/signin?code=good", "Sec-Purpose", "prefetch"); resp.StatusCode != http.StatusForbidden {
		t.Errorf("prefetch: %d", resp.StatusCode)
	}
	resp := b.do(http.MethodGet, "/signin?code=good&run="+runID)
	set := resp.Header.Get("Set-Cookie")
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(set, cookie+"=session; Path=/;") {
		t.Fatalf("%d, %q", resp.StatusCode, set)
	}
	for _, want := range []string{"HttpOnly", "Secure", "SameSite=Strict", "Expires="} {
		if !strings.Contains(set, want) {
			t.Errorf("the cookie is not %s: %s", want, set)
		}
	}
	if code, body := b.get("/signin?code=good"); code != http.StatusUnauthorized || !strings.Contains(body, "used already") {
		t.Errorf("a second time: %d", code)
	}
	f.change(func() { f.spent = false })
	if _, body := b.get("/signin?code=good&run=//evil.example/x"); !strings.Contains(body, `content="0; url=/"`) {
		t.Errorf("leads elsewhere: %s", body)
	}
	// Who comes from another site has no cookie with them: once more, from here.
	link := []string{"Cookie", "", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}
	if code, body := b.get("/runs/"+runID, link...); code != http.StatusOK || !strings.Contains(body, `url=/runs/`+runID+`"`) || strings.Contains(body, "alert") {
		t.Errorf("from elsewhere: %d %s", code, body)
	}
	link[3] = "same-origin"
	if code, body := b.get("/runs/"+runID, link...); code != http.StatusUnauthorized || !strings.Contains(body, "slipway web "+runID) {
		t.Errorf("then: %d", code)
	}
	if resp := b.do(http.MethodGet, "/signout", "Sec-Fetch-Site", "cross-site"); resp.StatusCode != http.StatusForbidden || resp.Header.Get("Set-Cookie") != "" {
		t.Errorf("signing out from elsewhere: %d", resp.StatusCode)
	}
	if resp := b.do(http.MethodGet, "/signout"); !strings.Contains(resp.Header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("signing out: %v", resp.Header)
	}
	f.change(func() { f.ended = true })
	if code, _ := b.get("/"); code != http.StatusUnauthorized {
		t.Errorf("after the session's end: %d", code)
	}
}

func TestListIsFiltered(t *testing.T) {
	f := newFake(hostileRun())
	b := serve(t, f)
	body := b.page("/?pipeline=ci.yml&branch=main&actor=ann&status=failed&page=" + runID)
	if f.listed.GetPipeline() != "ci.yml" || f.listed.GetBranch() != "main" || f.listed.GetActor() != "ann" || f.listed.GetPage() != runID || fmt.Sprint(f.listed.GetStates()) != "[RUN_STATE_FAILED]" {
		t.Errorf("asked for %v", f.listed)
	}
	for _, want := range []string{"<option selected>failed</option>", `value="ci.yml"`, `href="/?actor=ann&amp;branch=main&amp;page=` + runID + `&amp;pipeline=ci.yml&amp;status=failed"`, "✗", "failed"} {
		if !strings.Contains(body, want) {
			t.Errorf("the list lacks %s", want)
		}
	}
	if body := b.page("/?branch=none"); !strings.Contains(body, "No runs are like that") {
		t.Error("an empty list says nothing")
	}
	if code, _ := b.get("/?status=odd"); code != http.StatusBadRequest {
		t.Errorf("an odd status: %d", code)
	}
}

func TestRunsByOtherNames(t *testing.T) {
	b := serve(t, newFake(hostileRun()))
	for _, name := range []string{"%2312", runID[:8]} {
		if resp := b.do(http.MethodGet, "/runs/"+name); resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/runs/"+runID {
			t.Errorf("%s: %d %s", name, resp.StatusCode, resp.Header.Get("Location"))
		}
	}
	if code, _ := b.get("/runs/nosuchrun"); code != http.StatusNotFound {
		t.Errorf("no such run: %d", code)
	}
}

func TestWhyItWaits(t *testing.T) {
	run := hostileRun()
	run.State, run.EndedMs, run.Failure = corev1.RunState_RUN_STATE_RUNNING, 0, nil
	run.Jobs[0] = &apiv1.Job{Id: "build", Name: "Build", State: corev1.JobState_JOB_STATE_QUEUED, Reason: "it is queued"}
	f := newFake(run)
	b := serve(t, f)
	if body := b.page("/runs/" + runID); !strings.Contains(body, "it is queued") {
		t.Error("without an explanation the page lacks the run's own reason")
	}
	f.why = &apiv1.WhyRunResponse{Jobs: []*apiv1.JobWhy{{JobId: "build", Reason: "no agent has the label gpu", Remedy: "let one join"}}}
	for _, path := range []string{"/runs/" + runID, "/runs/" + runID + "/jobs/build"} {
		if body := b.page(path); !strings.Contains(body, "no agent has the label gpu") || !strings.Contains(body, "let one join") {
			t.Errorf("%s does not say why", path)
		}
	}
}

func TestDownloads(t *testing.T) {
	f := newFake(hostileRun())
	name := f.run.Artifacts[0].GetName()
	f.bundles[name] = "hello world"
	f.logs[0] = "one\n<b>\n"
	b := serve(t, f)
	resp := b.do(http.MethodGet, "/runs/"+runID+`/artifacts/a%20b%3F%23%22%27%26`)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/zip" || resp.ContentLength != 11 || !strings.HasPrefix(resp.Header.Get("Content-Disposition"), "attachment;") {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	if code, _ := b.get("/runs/" + runID + "/artifacts/none"); code != http.StatusNotFound {
		t.Errorf("no such artifact: %d", code)
	}
	resp = b.do(http.MethodGet, "/runs/"+runID+"/jobs/build/raw?attempt="+attempt+"&step=0")
	if !strings.HasPrefix(resp.Header.Get("Content-Disposition"), "attachment;") || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("%v", resp.Header)
	}
}

func TestStaticFilesAreKept(t *testing.T) {
	b := serve(t, newFake(hostileRun()))
	body := b.page("/")
	for _, path := range regexp.MustCompile(`/static/[^"]+`).FindAllString(body, -1) {
		resp := b.do(http.MethodGet, path, "Cookie", "")
		if resp.StatusCode != http.StatusOK || !strings.Contains(resp.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %v", path, resp.StatusCode, resp.Header)
		}
	}
	for _, path := range []string{"/static/0000000000000000/style.css", "/static/x/..%2f..%2fserver.go"} {
		if code, _ := b.get(path); code != http.StatusNotFound {
			t.Errorf("%s: %d", path, code)
		}
	}
}

func TestURLs(t *testing.T) {
	if got := web.SignInURL("https://h:1", "a b", "r"); got != "https://h:1/signin?code=a+b&run=r" {
		t.Error(got)
	}
	if got := web.RunURL("https://h:1", "r"); got != "https://h:1/runs/r" {
		t.Error(got)
	}
}

func TestScriptIsSmallAndAsksNobodyElse(t *testing.T) {
	src, err := os.ReadFile("static/live.js")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(src), "://") || strings.Contains(string(src), "eval(") || len(src) > 12<<10 {
		t.Error("the script asks others, or has become large")
	}
}
