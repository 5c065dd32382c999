package api_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/identity"
	"github.com/slipway-ci/slipway/coordinator/internal/coordtest"
	"github.com/slipway-ci/slipway/coordinator/logs"
	"github.com/slipway-ci/slipway/internal/id"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

var ids = id.NewSource(time.Now)

func TestWhoMayCallWhat(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	_, agent := h.Agent()
	ann, root := h.User("ann", "dev"), h.User("root", identity.Admins)
	calls := map[string]func(*grpc.ClientConn) error{
		"ListRuns": func(c *grpc.ClientConn) error {
			_, err := apiv1.NewRunServiceClient(c).ListRuns(t.Context(), &apiv1.ListRunsRequest{})
			return err
		},
		"CreateToken": func(c *grpc.ClientConn) error {
			_, err := apiv1.NewTokenServiceClient(c).CreateToken(t.Context(), &apiv1.CreateTokenRequest{RequestId: ids.New(), User: "bob"})
			return err
		},
		"CreateJoinToken": func(c *grpc.ClientConn) error {
			_, err := apiv1.NewAgentServiceClient(c).CreateJoinToken(t.Context(), &apiv1.CreateJoinTokenRequest{RequestId: ids.New(), Pool: "p"})
			return err
		},
		"StreamLogs": func(c *grpc.ClientConn) error {
			s, err := apiv1.NewLogServiceClient(c).StreamLogs(t.Context(), &apiv1.StreamLogsRequest{RunId: "run1"})
			if err == nil {
				_, err = s.Recv()
			}
			return err
		},
	}
	const ok = rpcerr.Reason("")
	for call, want := range map[string]map[*grpc.ClientConn]rpcerr.Reason{
		"ListRuns":        {h.Anonymous(): rpcerr.Unauthenticated, agent: rpcerr.Unauthenticated, ann: ok, root: ok},
		"CreateToken":     {h.Anonymous(): rpcerr.Unauthenticated, agent: rpcerr.Unauthenticated, ann: rpcerr.PermissionDenied, root: ok},
		"CreateJoinToken": {h.Anonymous(): rpcerr.Unauthenticated, agent: rpcerr.Unauthenticated, ann: rpcerr.PermissionDenied, root: ok},
		"StreamLogs":      {h.Anonymous(): rpcerr.Unauthenticated, agent: rpcerr.Unauthenticated, ann: rpcerr.NotFound},
	} {
		for conn, reason := range want {
			if err := calls[call](conn); rpcerr.ReasonOf(err) != reason || reason == ok && err != nil {
				t.Errorf("%s: %v, want %q", call, err, reason)
			}
		}
	}
}

func TestMutatingCallsAreAudited(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	h.Control.PutRun(&apiv1.Run{Id: "run1", Number: 1, State: corev1.RunState_RUN_STATE_RUNNING})
	ann := h.User("ann", "dev")
	request := ids.New()
	if _, err := apiv1.NewRunServiceClient(ann).CancelRun(t.Context(), &apiv1.CancelRunRequest{RequestId: request, RunId: "run1"}); err != nil {
		t.Fatal(err)
	}
	h.Await("cancel run1 cancelled by ann")
	_, _ = apiv1.NewTokenServiceClient(ann).CreateToken(t.Context(), &apiv1.CreateTokenRequest{RequestId: request, User: "bob"})
	_, _ = apiv1.NewRunServiceClient(ann).ListRuns(t.Context(), &apiv1.ListRunsRequest{})
	records := h.Audit.Find("audit")
	if len(records) != 2 {
		t.Fatalf("%d records: %v", len(records), records)
	}
	for i, want := range []map[string]string{
		{"principal": "user:ann", "method": "/slipway.api.v1.RunService/CancelRun", "request_id": request, "run": "run1", "code": "OK"},
		{"principal": "user:ann", "method": "/slipway.api.v1.TokenService/CreateToken", "request_id": request, "code": "PermissionDenied"},
	} {
		for k, v := range want {
			if records[i][k] != v {
				t.Errorf("record %d: %s = %q, want %q", i, k, records[i][k], v)
			}
		}
	}
}

func TestTokensThatTheAPIMakesWork(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	root := h.User("root", identity.Admins)
	resp, err := apiv1.NewTokenServiceClient(root).CreateToken(t.Context(), &apiv1.CreateTokenRequest{RequestId: ids.New(), User: "bob", Groups: []string{"dev"}, TtlMs: 60_000})
	if err != nil {
		t.Fatal(err)
	}
	p, err := h.Tokens.Authenticate(t.Context(), resp.GetToken())
	if err != nil || p.Name != "bob" || resp.GetExpiresMs() <= time.Now().UnixMilli() {
		t.Fatal(p, err)
	}
	for _, ttl := range []int64{-1, 1 << 62} {
		if _, err := apiv1.NewTokenServiceClient(root).CreateToken(t.Context(), &apiv1.CreateTokenRequest{RequestId: ids.New(), User: "bob", TtlMs: ttl}); rpcerr.ReasonOf(err) != rpcerr.InvalidRequest {
			t.Errorf("ttl %d: %v", ttl, err)
		}
	}
}

func TestUploadsAndDownloads(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{Config: func(c *config.Config) { c.Limits.BlobBytes = 1 << 20 }})
	ann := h.User("ann")
	content := bytes.Repeat([]byte("tree"), 200_000)
	upload := func(parts ...[]byte) (*apiv1.UploadBlobResponse, error) {
		s, err := apiv1.NewBlobServiceClient(ann).UploadBlob(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range parts {
			if err := s.Send(&apiv1.UploadBlobRequest{Data: p}); err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
		}
		return s.CloseAndRecv()
	}
	resp, err := upload(content[:5], nil, content[5:])
	if err != nil || resp.GetSize() != int64(len(content)) {
		t.Fatal(resp, err)
	}
	if _, err := upload(content, content); rpcerr.ReasonOf(err) != rpcerr.InvalidRequest {
		t.Errorf("over the limit: %v", err)
	}
	h.Control.PutRun(&apiv1.Run{Id: "run1", Number: 1, Artifacts: []*corev1.Artifact{{Name: "dist", Digest: resp.GetDigest()}}})
	download := func(name string) ([]byte, error) {
		s, err := apiv1.NewArtifactServiceClient(ann).DownloadArtifact(t.Context(), &apiv1.DownloadArtifactRequest{RunId: "run1", Name: name})
		if err != nil {
			t.Fatal(err)
		}
		var all []byte
		for {
			m, err := s.Recv()
			if errors.Is(err, io.EOF) {
				return all, nil
			}
			if err != nil {
				return nil, err
			}
			all = append(all, m.GetData()...)
		}
	}
	if got, err := download("dist"); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := download("dits"); rpcerr.ReasonOf(err) != rpcerr.NotFound || !strings.Contains(err.Error(), "it has dist") {
		t.Error(err)
	}
}

func TestWatchSendsChangesUntilTheEnd(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	run := func(s corev1.RunState) *apiv1.Run { return &apiv1.Run{Id: "run1", Number: 1, State: s} }
	h.Control.PutRun(run(corev1.RunState_RUN_STATE_QUEUED))
	s, err := apiv1.NewRunServiceClient(h.User("ann")).WatchRun(t.Context(), &apiv1.WatchRunRequest{RunId: "run1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, state := range []corev1.RunState{corev1.RunState_RUN_STATE_RUNNING, corev1.RunState_RUN_STATE_SUCCEEDED} {
		if _, err := s.Recv(); err != nil {
			t.Fatal(err)
		}
		h.Control.PutRun(run(state))
	}
	if m, err := s.Recv(); err != nil || m.GetRun().GetState() != corev1.RunState_RUN_STATE_SUCCEEDED {
		t.Fatal(m, err)
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
}

// logRun makes a run with two jobs, one of them a matrix leg, and returns a function that appends to a step's log.
func logRun(t *testing.T, h *coordtest.Harness) func(attempt string, step uint32, text string, end bool) {
	t.Helper()
	h.Control.PutRun(&apiv1.Run{Id: "run1", Number: 1, State: corev1.RunState_RUN_STATE_RUNNING, Jobs: []*apiv1.Job{{Id: "lint", Key: "lint"}, {Id: "test.0", Key: "test"}}})
	for attempt, job := range map[string]string{"att1": "lint", "att2": "test.0"} {
		if err := h.Logs.Register(logs.Meta{Run: "run1", Job: job, Attempt: attempt}); err != nil {
			t.Fatal(err)
		}
	}
	sizes := map[string]int64{}
	return func(attempt string, step uint32, text string, end bool) {
		t.Helper()
		w, err := h.Logs.Writer(attempt, step)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		key := attempt + string(rune(step))
		if err := w.Append(sizes[key], []byte(text), end); err != nil {
			t.Fatal(err)
		}
		sizes[key] += int64(len(text))
	}
}

// readLogs returns each job's bytes, and how the stream ended.
func readLogs(s grpc.ServerStreamingClient[apiv1.StreamLogsResponse]) (map[string]string, error) {
	out := map[string]string{}
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out[m.GetJobId()] += string(m.GetData())
	}
}

func stream(t *testing.T, conn *grpc.ClientConn, job string, follow bool) grpc.ServerStreamingClient[apiv1.StreamLogsResponse] {
	t.Helper()
	s, err := apiv1.NewLogServiceClient(conn).StreamLogs(t.Context(), &apiv1.StreamLogsRequest{RunId: "run1", JobId: job, Follow: follow})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLogsOfJobs(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	ann := h.User("ann")
	write := logRun(t, h)
	write("att1", 1, "lint says\n", true)
	write("att2", 1, "test says\n", false)
	for job, want := range map[string]map[string]string{
		"":       {"lint": "lint says\n", "test.0": "test says\n"},
		"lint":   {"lint": "lint says\n"},
		"test":   {"test.0": "test says\n"},
		"test.0": {"test.0": "test says\n"},
	} {
		got, err := readLogs(stream(t, ann, job, false))
		if err != nil || len(got) != len(want) {
			t.Errorf("%q: %v, %v", job, got, err)
		}
		for k, v := range want {
			if got[k] != v {
				t.Errorf("%q: %s is %q", job, k, got[k])
			}
		}
	}
	if _, err := readLogs(stream(t, ann, "tset", false)); rpcerr.ReasonOf(err) != rpcerr.NotFound || !strings.Contains(err.Error(), "lint, test.0") {
		t.Errorf("%v", err)
	}
}

func TestFollowWaitsForTheLastByteOfAnEndedRun(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	ann := h.User("ann")
	write := logRun(t, h)
	s := stream(t, ann, "", true)
	write("att1", 1, "one ", false)
	if m, err := s.Recv(); err != nil || string(m.GetData()) != "one " {
		t.Fatal(m, err)
	}
	if err := h.Logs.Finish("att1", []logs.Sum{{Step: 1, Length: 7, SHA256: "checked elsewhere"}}); err != nil {
		t.Fatal(err)
	}
	h.Control.PutRun(&apiv1.Run{Id: "run1", Number: 1, State: corev1.RunState_RUN_STATE_SUCCEEDED})
	write("att1", 1, "two", true)
	if got, err := readLogs(s); err != nil || got["lint"] != "two" {
		t.Fatal(got, err)
	}
}

// An agent that was away has the end of one step and the output of the next at once, and sends both as it likes.
func TestFollowKeepsTheOrderOfSteps(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	write := logRun(t, h)
	write("att1", 1, "one ", false)
	write("att1", 2, "three", true)
	write("att2", 1, "other", false)
	s := stream(t, h.User("ann"), "", true)
	var got []string
	receive := func(n int) string {
		t.Helper()
		for range n {
			m, err := s.Recv()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(m.GetData()))
		}
		return strings.Join(got, "|")
	}
	if text := receive(2); text != "one |other" {
		t.Fatalf("before the first step's log is complete: %q", text)
	}
	write("att1", 1, "two ", false)
	if text := receive(1); text != "one |other|two " {
		t.Fatalf("then: %q", text)
	}
	write("att1", 1, "", true)
	if text := receive(1); text != "one |other|two |three" {
		t.Fatalf("in the end: %q", text)
	}
}

func TestFollowGivesUpOnBytesThatDoNotCome(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	write := logRun(t, h)
	write("att1", 1, "one ", false)
	if err := h.Logs.Finish("att1", []logs.Sum{{Step: 1, Length: 7}}); err != nil {
		t.Fatal(err)
	}
	h.Control.PutRun(&apiv1.Run{Id: "run1", Number: 1, State: corev1.RunState_RUN_STATE_FAILED})
	s := stream(t, h.User("ann"), "", true)
	if _, err := s.Recv(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := readLogs(s)
		done <- err
	}()
	for {
		h.Clock.Advance(time.Second)
		select {
		case err := <-done:
			if rpcerr.ReasonOf(err) != rpcerr.LogIncomplete || !strings.Contains(err.Error(), "4 of 7 bytes") {
				t.Fatal(err)
			}
			return
		default:
		}
	}
}
