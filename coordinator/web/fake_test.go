package web_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/identity"
	"github.com/slipway-ci/slipway/coordinator/web"
	"github.com/slipway-ci/slipway/internal/clock"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

const (
	runID   = "01m80k0v1djphfe8h9kp8jvms0"
	attempt = "01m80k0v1djphfe8h9kp8jvms1"
)

// fake is an API with one run, and a Sessions that knows one code and one session.
type fake struct {
	apiv1.UnimplementedRunServiceServer
	apiv1.UnimplementedLogServiceServer
	apiv1.UnimplementedArtifactServiceServer

	mu      sync.Mutex
	run     *apiv1.Run
	why     *apiv1.WhyRunResponse
	logs    map[uint32]string
	whole   bool // the logs are
	changed chan struct{}
	listed  *apiv1.ListRunsRequest
	spent   bool
	ended   bool // the session
	until   time.Time
	bundles map[string]string
}

func newFake(run *apiv1.Run) *fake {
	return &fake{run: run, logs: map[uint32]string{}, changed: make(chan struct{}), until: now.Add(time.Hour), bundles: map[string]string{}}
}

// change changes the fake and wakes its followers.
func (f *fake) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fake) view() (*apiv1.Run, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return proto.CloneOf(f.run), f.changed
}

func (f *fake) GetRun(ctx context.Context, req *apiv1.GetRunRequest) (*apiv1.GetRunResponse, error) {
	if identity.FromContext(ctx).Name != "ann" {
		return nil, errors.New("nobody asks")
	}
	run, _ := f.view()
	if !slices.Contains([]string{run.GetId(), run.GetId()[:8], "#12"}, req.GetRunId()) {
		return nil, rpcerr.New(rpcerr.NotFound, "there is no run %s", req.GetRunId())
	}
	return &apiv1.GetRunResponse{Run: run}, nil
}

func (f *fake) ListRuns(_ context.Context, req *apiv1.ListRunsRequest) (*apiv1.ListRunsResponse, error) {
	run, _ := f.view()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.listed = req
	if req.GetBranch() == "none" {
		return &apiv1.ListRunsResponse{}, nil
	}
	return &apiv1.ListRunsResponse{Runs: []*apiv1.Run{run}, NextPage: runID}, nil
}

func (f *fake) WhyRun(context.Context, *apiv1.WhyRunRequest) (*apiv1.WhyRunResponse, error) {
	if f.why == nil {
		return nil, rpcerr.New(rpcerr.NotLeader, "not now")
	}
	return f.why, nil
}

func (f *fake) WatchRun(_ *apiv1.WatchRunRequest, s grpc.ServerStreamingServer[apiv1.WatchRunResponse]) error {
	for {
		run, changed := f.view()
		if err := s.Send(&apiv1.WatchRunResponse{Run: run}); err != nil {
			return err
		}
		if run.GetState() >= corev1.RunState_RUN_STATE_SUCCEEDED {
			return nil
		}
		select {
		case <-changed:
		case <-s.Context().Done():
			return s.Context().Err()
		}
	}
}

// chunk is how much the fake sends at once.
const chunk = 32 << 10

func (f *fake) StreamLogs(req *apiv1.StreamLogsRequest, s grpc.ServerStreamingServer[apiv1.StreamLogsResponse]) error {
	sent := map[uint32]int64{}
	for _, h := range req.GetHave() {
		sent[h.GetStep()] = h.GetOffset()
	}
	for {
		f.mu.Lock()
		logs, whole, changed := map[uint32]string{}, f.whole, f.changed
		var steps []uint32
		for step, text := range f.logs {
			if req.Step == nil || req.GetStep() == step {
				logs[step], steps = text, append(steps, step)
			}
		}
		f.mu.Unlock()
		slices.Sort(steps)
		for _, step := range steps {
			text := logs[step]
			if most := req.GetTail(); most > 0 && int64(len(text))-sent[step] > most {
				sent[step] = int64(len(text)) - most
			}
			for sent[step] < int64(len(text)) {
				data := text[sent[step]:min(sent[step]+chunk, int64(len(text)))]
				if err := s.Send(&apiv1.StreamLogsResponse{JobId: "build", AttemptId: attempt, Step: step, Offset: sent[step], Data: []byte(data)}); err != nil {
					return err
				}
				sent[step] += int64(len(data))
			}
		}
		if !req.GetFollow() || whole {
			return nil
		}
		select {
		case <-changed:
		case <-s.Context().Done():
			return s.Context().Err()
		}
	}
}

func (f *fake) DownloadArtifact(req *apiv1.DownloadArtifactRequest, s grpc.ServerStreamingServer[apiv1.DownloadArtifactResponse]) error {
	for piece := range strings.SplitAfterSeq(f.bundles[req.GetName()], " ") {
		if err := s.Send(&apiv1.DownloadArtifactResponse{Data: []byte(piece)}); err != nil {
			return err
		}
	}
	return nil
}

func (f *fake) SignIn(_ context.Context, code string) (string, time.Time, identity.Principal, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if code != "good" || f.spent {
		return "", time.Time{}, identity.Principal{}, rpcerr.New(rpcerr.Unauthenticated, "this sign-in link was used already")
	}
	f.spent = true
	return "session", f.until, identity.Principal{Kind: identity.User, Name: "ann"}, nil
}

func (f *fake) Session(_ context.Context, session string) (identity.Principal, time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if session != "session" || f.ended {
		return identity.Principal{}, time.Time{}, rpcerr.New(rpcerr.Unauthenticated, "this coordinator made no such session")
	}
	return identity.Principal{Kind: identity.User, Name: "ann"}, f.until, nil
}

// now is far ahead: a session's end is a deadline of real requests.
var now = time.Now().Truncate(time.Second)

const cookie = "__Host-slipway-test"

// browser asks a server for pages, with the session's cookie.
type browser struct {
	t    *testing.T
	base string
}

func serve(t *testing.T, f *fake) *browser {
	t.Helper()
	stop := make(chan struct{})
	srv := httptest.NewServer(web.Handler(web.Deps{Runs: f, Logs: f, Artifacts: f, Sessions: f, Name: "test", Clock: clock.NewFake(now), Log: slog.New(slog.DiscardHandler), Stop: stop}))
	t.Cleanup(func() {
		close(stop)
		srv.Close()
	})
	return &browser{t, srv.URL}
}

// answer is a response whose body is closed when the test ends.
type answer struct {
	StatusCode int
	Header     http.Header
	Body       io.Reader
	// ContentLength is -1 if it is not known.
	ContentLength int64
}

func (b *browser) do(method, path string, headers ...string) answer {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.base+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Cookie", cookie+"=session")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = resp.Body.Close() })
	return answer{StatusCode: resp.StatusCode, Header: resp.Header, Body: resp.Body, ContentLength: resp.ContentLength}
}

func (b *browser) get(path string, headers ...string) (int, string) {
	b.t.Helper()
	resp := b.do(http.MethodGet, path, headers...)
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// page is get of what must be there.
func (b *browser) page(path string) string {
	b.t.Helper()
	code, body := b.get(path)
	if code != http.StatusOK {
		b.t.Fatalf("%s: %d\n%s", path, code, body)
	}
	return body
}
