package apitest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// api serves every service of api/v1 from a Server's memory.
type api struct {
	apiv1.UnimplementedRunServiceServer
	apiv1.UnimplementedLogServiceServer
	apiv1.UnimplementedBlobServiceServer
	apiv1.UnimplementedArtifactServiceServer
	apiv1.UnimplementedAgentServiceServer
	apiv1.UnimplementedTokenServiceServer
	s *Server
}

func (a *api) SubmitRun(_ context.Context, r *apiv1.SubmitRunRequest) (*apiv1.SubmitRunResponse, error) {
	s := a.s
	s.mu.Lock()
	defer s.mu.Unlock()
	run, known := s.requests[r.GetRequestId()]
	if !known {
		run = newRun(uint64(len(s.runs)+1), r)
		s.runs = append(s.runs, run)
		s.requests[r.GetRequestId()] = run
		if s.Script != nil {
			go s.Script(run)
		} else {
			run.End(corev1.RunState_RUN_STATE_SUCCEEDED)
		}
	}
	return &apiv1.SubmitRunResponse{RunId: run.ID(), RunNumber: run.run.GetNumber()}, nil
}

func (a *api) PlanRun(_ context.Context, r *apiv1.PlanRunRequest) (*apiv1.PlanRunResponse, error) {
	return &apiv1.PlanRunResponse{Plan: &planv1.Plan{Path: r.GetPath(), Images: map[string]string{"busybox": "mirror/busybox@sha256:00"}},
		Pools: map[string]string{"ubuntu-latest": "default"}}, nil
}

func (a *api) GetRun(_ context.Context, r *apiv1.GetRunRequest) (*apiv1.GetRunResponse, error) {
	run, err := a.find(r.GetRunId())
	if err != nil {
		return nil, err
	}
	view, _, _, _ := run.look(0)
	return &apiv1.GetRunResponse{Run: view}, nil
}

func (a *api) ListRuns(_ context.Context, r *apiv1.ListRunsRequest) (*apiv1.ListRunsResponse, error) {
	out := &apiv1.ListRunsResponse{}
	all := a.s.Runs()
	for i := len(all) - 1; i >= 0 && (r.GetLimit() == 0 || len(out.GetRuns()) < int(r.GetLimit())); i-- {
		view, _, _, _ := all[i].look(0)
		out.Runs = append(out.Runs, view)
	}
	return out, nil
}

func (a *api) CancelRun(_ context.Context, r *apiv1.CancelRunRequest) (*apiv1.CancelRunResponse, error) {
	run, err := a.find(r.GetRunId())
	if err != nil {
		return nil, err
	}
	run.cancel.Do(func() { close(run.Cancelled) })
	return &apiv1.CancelRunResponse{}, nil
}

func (a *api) WatchRun(r *apiv1.WatchRunRequest, stream grpc.ServerStreamingServer[apiv1.WatchRunResponse]) error {
	run, err := a.find(r.GetRunId())
	if err != nil {
		return err
	}
	for {
		view, _, _, changed := run.look(0)
		if err := stream.Send(&apiv1.WatchRunResponse{Run: view}); err != nil {
			return err
		}
		if view.GetState() >= corev1.RunState_RUN_STATE_SUCCEEDED {
			return nil
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (a *api) StreamLogs(r *apiv1.StreamLogsRequest, stream grpc.ServerStreamingServer[apiv1.StreamLogsResponse]) error {
	run, err := a.find(r.GetRunId())
	if err != nil {
		return err
	}
	for n := 0; ; {
		_, logs, sealed, changed := run.look(n)
		for _, m := range logs {
			n++
			if r.GetJobId() != "" && r.GetJobId() != m.GetJobId() {
				continue
			}
			if err := stream.Send(m); err != nil {
				return err
			}
		}
		if sealed || !r.GetFollow() {
			return nil
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (a *api) UploadBlob(stream grpc.ClientStreamingServer[apiv1.UploadBlobRequest, apiv1.UploadBlobResponse]) error {
	var all []byte
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		all = append(all, m.GetData()...)
	}
	sum := sha256.Sum256(all)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	a.s.mu.Lock()
	a.s.blobs[digest] = all
	a.s.mu.Unlock()
	return stream.SendAndClose(&apiv1.UploadBlobResponse{Digest: digest, Size: int64(len(all))})
}

func (a *api) ListArtifacts(_ context.Context, r *apiv1.ListArtifactsRequest) (*apiv1.ListArtifactsResponse, error) {
	run, err := a.find(r.GetRunId())
	if err != nil {
		return nil, err
	}
	view, _, _, _ := run.look(0)
	return &apiv1.ListArtifactsResponse{Artifacts: view.GetArtifacts()}, nil
}

func (a *api) DownloadArtifact(r *apiv1.DownloadArtifactRequest, stream grpc.ServerStreamingServer[apiv1.DownloadArtifactResponse]) error {
	run, err := a.find(r.GetRunId())
	if err != nil {
		return err
	}
	a.s.mu.Lock()
	zip, ok := a.s.zips[run.ID()+"/"+r.GetName()]
	a.s.mu.Unlock()
	if !ok {
		return rpcerr.New(rpcerr.NotFound, "run %s has no artifact %q", run.ID(), r.GetName())
	}
	for len(zip) > 0 {
		n := min(len(zip), 1000)
		if err := stream.Send(&apiv1.DownloadArtifactResponse{Data: zip[:n]}); err != nil {
			return err
		}
		zip = zip[n:]
	}
	return nil
}

func (a *api) ListAgents(context.Context, *apiv1.ListAgentsRequest) (*apiv1.ListAgentsResponse, error) {
	return &apiv1.ListAgentsResponse{Agents: a.s.ListedAgents}, nil
}

func (a *api) CreateJoinToken(_ context.Context, r *apiv1.CreateJoinTokenRequest) (*apiv1.CreateJoinTokenResponse, error) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	a.s.joins = append(a.s.joins, r)
	return &apiv1.CreateJoinTokenResponse{Token: "join-secret", ExpiresMs: time.Now().Add(time.Hour).UnixMilli()}, nil
}

func (a *api) CreateToken(_ context.Context, r *apiv1.CreateTokenRequest) (*apiv1.CreateTokenResponse, error) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	a.s.tokens = append(a.s.tokens, r)
	return &apiv1.CreateTokenResponse{Token: "user-secret", ExpiresMs: time.Now().Add(time.Hour).UnixMilli()}, nil
}

// find takes an id, a prefix or "#number", as the real server does.
func (a *api) find(id string) (*Run, error) {
	for _, r := range a.s.Runs() {
		id := strings.TrimSuffix(id, ".1") // each has one attempt
		if r.ID() == id || len(id) >= 6 && strings.HasPrefix(r.ID(), id) || id == fmt.Sprintf("#%d", r.run.GetNumber()) {
			return r, nil
		}
	}
	return nil, rpcerr.New(rpcerr.NotFound, "there is no run %q", id)
}
