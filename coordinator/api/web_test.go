package api_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/coordinator/api"
	"github.com/slipway-ci/slipway/coordinator/internal/coordtest"
	"github.com/slipway-ci/slipway/coordinator/logs"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

func TestSignInLinks(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{Pages: &api.Pages{Run: func(run string) string { return "page of " + run },
		SignIn: func(code, run string) string { return code + " then " + run }}})
	ann := h.User("ann")
	web := apiv1.NewWebServiceClient(ann)
	run := ids.New()
	link, err := web.CreateSignIn(t.Context(), &apiv1.CreateSignInRequest{RequestId: ids.New(), RunId: run})
	if err != nil {
		t.Fatal(err)
	}
	code, to, _ := strings.Cut(link.GetUrl(), " then ")
	if to != run {
		t.Errorf("leads to %q", to)
	}
	if _, _, p, err := h.Tokens.SignIn(t.Context(), code); err != nil || p.Name != "ann" {
		t.Errorf("signs in %v: %v", p, err)
	}
	if got := len(h.Audit.Find("audit")); got != 1 {
		t.Errorf("%d calls are in the audit log", got)
	}
	for name, c := range map[string]struct {
		req  *apiv1.CreateSignInRequest
		want rpcerr.Reason
	}{
		"no request id": {&apiv1.CreateSignInRequest{}, rpcerr.InvalidRequest},
		"not a run":     {&apiv1.CreateSignInRequest{RequestId: ids.New(), RunId: "../x"}, rpcerr.InvalidRequest},
	} {
		if _, err := web.CreateSignIn(t.Context(), c.req); rpcerr.ReasonOf(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := apiv1.NewWebServiceClient(h.Anonymous()).CreateSignIn(t.Context(), &apiv1.CreateSignInRequest{RequestId: ids.New()}); rpcerr.ReasonOf(err) != rpcerr.Unauthenticated {
		t.Errorf("without a token: %v", err)
	}
	logRun(t, h)
	if got, err := apiv1.NewRunServiceClient(ann).GetRun(t.Context(), &apiv1.GetRunRequest{RunId: "run1"}); err != nil || got.GetUrl() != "page of run1" {
		t.Errorf("%q, %v", got.GetUrl(), err)
	}
}

func TestNoPagesNoLinks(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	ann := h.User("ann")
	if _, err := apiv1.NewWebServiceClient(ann).CreateSignIn(t.Context(), &apiv1.CreateSignInRequest{RequestId: ids.New()}); rpcerr.ReasonOf(err) != rpcerr.NotFound {
		t.Errorf("%v", err)
	}
	logRun(t, h)
	if got, err := apiv1.NewRunServiceClient(ann).GetRun(t.Context(), &apiv1.GetRunRequest{RunId: "run1"}); err != nil || got.GetUrl() != "" {
		t.Errorf("%q, %v", got.GetUrl(), err)
	}
}

func TestPartsOfLogs(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	logs := apiv1.NewLogServiceClient(h.User("ann"))
	write := logRun(t, h)
	write("att1", 0, "zero", true)
	write("att1", 1, "0123456789", true)
	write("att2", 1, "other", true)
	one := uint32(1)
	for name, c := range map[string]struct {
		req  *apiv1.StreamLogsRequest
		want string
	}{
		"an attempt": {&apiv1.StreamLogsRequest{AttemptId: "att1"}, "0@0:zero 1@0:0123456789"},
		"a step":     {&apiv1.StreamLogsRequest{AttemptId: "att1", Step: &one}, "1@0:0123456789"},
		"the end":    {&apiv1.StreamLogsRequest{AttemptId: "att1", Tail: 3}, "0@1:ero 1@7:789"},
		"the rest": {&apiv1.StreamLogsRequest{AttemptId: "att1", Have: []*apiv1.LogPosition{{AttemptId: "att1", Step: 1, Offset: 8}, {AttemptId: "att1", Offset: 9}}},
			"1@8:89"},
		"the end of the rest": {&apiv1.StreamLogsRequest{JobId: "lint", Tail: 1, Have: []*apiv1.LogPosition{{AttemptId: "att1", Step: 1, Offset: 8}}}, "0@3:o 1@9:9"},
		"of no such attempt":  {&apiv1.StreamLogsRequest{AttemptId: "att9"}, ""},
	} {
		c.req.RunId = "run1"
		s, err := logs.StreamLogs(t.Context(), c.req)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for {
			m, err := s.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, strings.Join([]string{string(rune('0' + m.GetStep())), "@", string(rune('0' + m.GetOffset())), ":", string(m.GetData())}, ""))
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s: %q, want %q", name, text, c.want)
		}
	}
	for _, bad := range []*apiv1.StreamLogsRequest{{Tail: -1}, {Have: []*apiv1.LogPosition{{Offset: -1}}}, {Have: make([]*apiv1.LogPosition, 10_001)}} {
		bad.RunId = "run1"
		s, err := logs.StreamLogs(t.Context(), bad)
		if err == nil {
			_, err = s.Recv()
		}
		if rpcerr.ReasonOf(err) != rpcerr.InvalidRequest {
			t.Errorf("%v", err)
		}
	}
}

// Who follows one attempt is done with it, although the run goes on.
func TestFollowAnAttemptToItsEnd(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	write := logRun(t, h)
	s, err := apiv1.NewLogServiceClient(h.User("ann")).StreamLogs(t.Context(), &apiv1.StreamLogsRequest{RunId: "run1", AttemptId: "att1", Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	write("att2", 1, "other", true)
	write("att1", 1, "one ", false)
	if m, err := s.Recv(); err != nil || string(m.GetData()) != "one " {
		t.Fatal(m, err)
	}
	if err := h.Logs.Finish("att1", []logs.Sum{{Step: 1, Length: 7, SHA256: "checked elsewhere"}}); err != nil {
		t.Fatal(err)
	}
	write("att1", 1, "two", true)
	if got, err := readLogs(s); err != nil || got["lint"] != "two" || len(got) != 1 {
		t.Fatal(got, err)
	}
}
