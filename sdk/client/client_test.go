package client_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-ci/slipway/internal/apitest"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	"github.com/slipway-ci/slipway/sdk/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func connect(t *testing.T, s *apitest.Server, change ...func(*client.Config)) *client.Client {
	t.Helper()
	c := client.Config{Address: s.Address(), CA: s.CA, Token: apitest.Token, FirstPatience: 20 * time.Second, Patience: 20 * time.Second}
	for _, f := range change {
		f(&c)
	}
	cl, err := client.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cl.Close() })
	return cl
}

func TestSubmitIsRepeatedSafelyWhileBusyOrUnavailable(t *testing.T) {
	s := apitest.Start(t)
	var left atomic.Int32
	left.Store(3)
	s.Refuse = func(method string) error {
		switch {
		case method != "SubmitRun":
			return nil
		case left.Add(-1) == 1:
			return rpcerr.New(rpcerr.Busy, "too many")
		case left.Load() >= 0:
			return rpcerr.New(rpcerr.NotLeader, "no leader")
		}
		return nil
	}
	cl := connect(t, s)
	r := &apiv1.SubmitRunRequest{Path: "ci.yml", Workflow: []byte("jobs:")}
	first, err := cl.Submit(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	again, err := cl.Submit(t.Context(), r)
	if err != nil || again.GetRunId() != first.GetRunId() || len(s.Runs()) != 1 {
		t.Fatalf("second submit of the same request: %v, %v, %d runs", again, err, len(s.Runs()))
	}
	if n := s.Calls("SubmitRun"); n != 5 {
		t.Errorf("SubmitRun arrived %d times, want 5", n)
	}
}

func TestErrorsHaveKinds(t *testing.T) {
	diags := &apiv1.Diagnostics{Diagnostics: []*apiv1.Diagnostic{{Path: "ci.yml", Message: "unknown key", Severity: "error"}}}
	tests := []struct {
		name string
		err  error
		kind error
	}{
		{"pipeline", rpcerr.WithDetails(rpcerr.InvalidPipeline, "1 error", diags), client.ErrInvalid},
		{"image", rpcerr.New(rpcerr.ImageUnavailable, "no such image"), client.ErrInvalid},
		{"missing", rpcerr.New(rpcerr.NotFound, "no run"), client.ErrNotFound},
		{"user", rpcerr.New(rpcerr.PermissionDenied, "no"), client.ErrPermission},
		{"internal", rpcerr.New(rpcerr.Internal, "bug"), client.ErrSystem},
		{"bare", status.Error(codes.Unknown, "what"), client.ErrSystem},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := apitest.Start(t)
			s.Refuse = func(string) error { return tt.err }
			_, err := connect(t, s).Submit(t.Context(), &apiv1.SubmitRunRequest{Path: "ci.yml"})
			if !errors.Is(err, tt.kind) {
				t.Fatalf("%v is not %v", err, tt.kind)
			}
			if strings.Contains(err.Error(), "rpc error") {
				t.Errorf("gRPC's prefix is left: %v", err)
			}
			var e *client.Error
			if tt.name == "pipeline" && (!errors.As(err, &e) || len(e.Diagnostics) != 1) {
				t.Errorf("diagnostics are lost: %#v", err)
			}
		})
	}
}

func TestWrongTokenAndNobodyThere(t *testing.T) {
	s := apitest.Start(t)
	_, err := connect(t, s, func(c *client.Config) { c.Token = "other" }).Agents(t.Context())
	if !errors.Is(err, client.ErrUnauthenticated) {
		t.Errorf("wrong token: %v", err)
	}
	_, err = connect(t, s, func(c *client.Config) { c.CA = nil; c.FirstPatience = time.Millisecond }).Agents(t.Context())
	if !errors.Is(err, client.ErrUntrusted) {
		t.Errorf("unknown CA: %v", err)
	}
	s.Stop()
	_, err = connect(t, s, func(c *client.Config) { c.FirstPatience = time.Millisecond }).Agents(t.Context())
	if !errors.Is(err, client.ErrUnreachable) || !strings.Contains(err.Error(), s.Address()) {
		t.Errorf("nobody there: %v", err)
	}
}

func TestWatchAndLogsSurviveARestart(t *testing.T) {
	s := apitest.Start(t)
	s.Script = func(*apitest.Run) {}
	cl := connect(t, s)
	out, err := cl.Submit(t.Context(), &apiv1.SubmitRunRequest{Path: "ci.yml"})
	if err != nil {
		t.Fatal(err)
	}
	run := s.Runs()[0]
	run.Log("test", 1, "one\n")

	seenOne, seenRun := make(chan struct{}), make(chan struct{})
	var text bytes.Buffer
	logs := make(chan error, 1)
	go func() {
		logs <- cl.Logs(t.Context(), &apiv1.StreamLogsRequest{RunId: out.GetRunId(), Follow: true}, func(m *apiv1.StreamLogsResponse) error {
			if text.Write(m.GetData()); m.GetOffset() == 0 {
				close(seenOne)
			}
			return nil
		})
	}()
	var last corev1.RunState
	watch := make(chan error, 1)
	go func() {
		first := true
		watch <- cl.Watch(t.Context(), out.GetRunId(), func(r *apiv1.Run) error {
			if last = r.GetState(); first {
				first = false
				close(seenRun)
			}
			return nil
		})
	}()
	<-seenOne
	<-seenRun
	s.Stop()
	run.Log("test", 1, "two\n")
	s.Restart(t)
	run.Log("test", 1, "three\n")
	run.End(corev1.RunState_RUN_STATE_SUCCEEDED)
	if err := <-watch; err != nil || last != corev1.RunState_RUN_STATE_SUCCEEDED {
		t.Errorf("watch: %v, last state %v", err, last)
	}
	if err := <-logs; err != nil || text.String() != "one\ntwo\nthree\n" {
		t.Errorf("logs: %v, %q", err, text.String())
	}
}

func TestUploadAndDownload(t *testing.T) {
	s := apitest.Start(t)
	cl := connect(t, s)
	content := bytes.Repeat([]byte("0123456789"), 100_000)
	digest, size, err := cl.Upload(t.Context(), bytes.NewReader(content))
	if err != nil || size != int64(len(content)) || !bytes.Equal(s.Blob(digest), content) {
		t.Fatalf("upload: %q %d %v", digest, size, err)
	}
	out, err := cl.Submit(t.Context(), &apiv1.SubmitRunRequest{Path: "ci.yml"})
	if err != nil {
		t.Fatal(err)
	}
	s.PutArtifact(out.GetRunId(), "report", content)
	var got bytes.Buffer
	if n, err := cl.Download(t.Context(), out.GetRunId(), "report", &got); err != nil || n != size || !bytes.Equal(got.Bytes(), content) {
		t.Fatalf("download: %d %v", n, err)
	}
	if _, err := cl.Download(t.Context(), out.GetRunId(), "nope", &got); !errors.Is(err, client.ErrNotFound) {
		t.Fatalf("missing artifact: %v", err)
	}
}

func TestCallerCanStop(t *testing.T) {
	s := apitest.Start(t)
	s.Script = func(*apitest.Run) {}
	cl := connect(t, s)
	out, err := cl.Submit(t.Context(), &apiv1.SubmitRunRequest{Path: "ci.yml"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = cl.Watch(ctx, out.GetRunId(), func(*apiv1.Run) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("watch after cancel: %v", err)
	}
	stop := errors.New("enough")
	if err := cl.Watch(t.Context(), out.GetRunId(), func(*apiv1.Run) error { return stop }); !errors.Is(err, stop) {
		t.Fatalf("watch: %v", err)
	}
}
