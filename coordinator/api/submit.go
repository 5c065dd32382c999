package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"regexp"
	"slices"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/blob"
	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/identity"
	"github.com/slipway-ci/slipway/coordinator/images"
	"github.com/slipway-ci/slipway/internal/id"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	"github.com/slipway-ci/slipway/internal/tlsutil"
	"github.com/slipway-ci/slipway/pipeline/compile"
	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/expr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

const (
	defaultProject = "default"
	defaultEvent   = "push"

	maxReason = 1024
	maxPath   = 1024
	maxRef    = 1024
)

var (
	shaPattern   = regexp.MustCompile(`^[0-9a-f]{40}$`)
	eventPattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
)

// submission is what SubmitRun and PlanRun have in common.
type submission struct {
	project, path, event, payload string
	workflow                      []byte
	source                        *corev1.Source
	// jobs to run, with what they need; empty is all.
	jobs []string
	// vars of the project as they are now.
	vars map[string]string
}

func (s *runs) SubmitRun(ctx context.Context, req *apiv1.SubmitRunRequest) (*apiv1.SubmitRunResponse, error) {
	if err := checkRequestID(req.GetRequestId()); err != nil {
		return nil, err
	}
	// A repeat gets the first answer even if the file's images have gone since.
	if runID, number, found, err := engine.Submitted(ctx, s.Store, req.GetRequestId()); err != nil || found {
		return &apiv1.SubmitRunResponse{RunId: runID, RunNumber: number, Url: s.url(runID)}, err
	}
	hold, err := s.hold(req.GetHoldMs())
	if err != nil {
		return nil, err
	}
	sub, err := s.check(ctx, submission{project: req.GetProject(), path: req.GetPath(), event: req.GetEvent(), payload: req.GetEventPayload(),
		workflow: req.GetWorkflow(), source: req.GetSource(), jobs: req.GetJobs()})
	if err != nil {
		return nil, err
	}
	plan, found, err := s.plan(ctx, sub)
	if err != nil {
		return nil, err
	}
	digest, err := s.storePlan(ctx, plan)
	if err != nil {
		return nil, err
	}
	runID, number, err := s.Control.Submit(ctx, engine.Submission{
		RequestID: req.GetRequestId(), Project: sub.project, Plan: plan, PlanDigest: digest, Source: sub.source, Event: sub.event,
		EventPayload: sub.payload, Vars: sub.vars, Actor: identity.FromContext(ctx).Name, Traceparent: traceparent(ctx), Hold: hold,
	})
	if err != nil {
		return nil, s.internal("submitting a run", err)
	}
	s.Log.InfoContext(ctx, "a run was submitted", "run", runID, "number", number, "project", sub.project, "path", sub.path)
	return &apiv1.SubmitRunResponse{RunId: runID, RunNumber: number, Diagnostics: messages(found), Url: s.url(runID)}, nil
}

func (s *runs) PlanRun(ctx context.Context, req *apiv1.PlanRunRequest) (*apiv1.PlanRunResponse, error) {
	sub, err := s.check(ctx, submission{project: req.GetProject(), path: req.GetPath(), event: req.GetEvent(), payload: req.GetEventPayload(),
		workflow: req.GetWorkflow(), source: req.GetSource(), jobs: req.GetJobs()})
	if err != nil {
		return nil, err
	}
	plan, found, err := s.plan(ctx, sub)
	if err != nil {
		return nil, err
	}
	return &apiv1.PlanRunResponse{Plan: plan, Diagnostics: messages(found), Pools: s.Images.Pools(plan)}, nil
}

// hold is how long the pods of jobs that fail are held.
func (s *runs) hold(ms int64) (time.Duration, error) {
	d, err := duration(ms)
	switch {
	case err != nil:
		return 0, err
	case d > 0 && s.MaxHold <= 0:
		return 0, rpcerr.New(rpcerr.PolicyRefused, "this coordinator holds no pods of failed jobs (`debug.max_hold` in its configuration)")
	case d > s.MaxHold:
		return 0, rpcerr.New(rpcerr.InvalidRequest, "the pods of failed jobs can be held for at most %v here, not %v (`debug.max_hold` in the coordinator's configuration)", s.MaxHold, d)
	}
	return d, nil
}

func checkRequestID(requestID string) error {
	if !id.Valid(requestID) {
		return rpcerr.New(rpcerr.InvalidRequest, "request_id %.64q is not a ULID; make a fresh one for every call, and keep it when you repeat the call", requestID)
	}
	return nil
}

// check fills defaults and refuses what can't be meant.
func (s *runs) check(ctx context.Context, sub submission) (submission, error) {
	if sub.project == "" {
		sub.project = defaultProject
	}
	if sub.event == "" {
		sub.event = defaultEvent
	}
	if sub.source == nil {
		sub.source = &corev1.Source{}
	}
	var err error
	switch {
	case tlsutil.CheckName("project", sub.project) != nil:
		err = tlsutil.CheckName("project", sub.project)
	case sub.path == "" || len(sub.path) > maxPath:
		err = rpcerr.New(rpcerr.InvalidRequest, "the workflow's path must have 1 to %d bytes", maxPath)
	case int64(len(sub.workflow)) > s.Limits.WorkflowBytes:
		return sub, s.invalid(diag.List{{Path: sub.path, Code: "too-large", Message: tooLarge(len(sub.workflow), s.Limits.WorkflowBytes), Hint: "split the workflow"}})
	case int64(len(sub.payload)) > s.Limits.PayloadBytes:
		err = rpcerr.New(rpcerr.InvalidRequest, "the event's payload: %s", tooLarge(len(sub.payload), s.Limits.PayloadBytes))
	case !eventPattern.MatchString(sub.event):
		err = rpcerr.New(rpcerr.InvalidRequest, "%.64q is not an event's name; want push, pull_request, workflow_dispatch …", sub.event)
	case sub.source.GetSha() != "" && !shaPattern.MatchString(sub.source.GetSha()):
		err = rpcerr.New(rpcerr.InvalidRequest, "source.sha %.64q is not a commit of 40 lower-case hex digits", sub.source.GetSha())
	case len(sub.source.GetRef()) > maxRef || len(sub.source.GetRepository()) > maxRef:
		err = rpcerr.New(rpcerr.InvalidRequest, "source.ref and source.repository have at most %d bytes", maxRef)
	default:
		err = s.checkTree(ctx, sub.source.GetTree())
	}
	if err != nil && rpcerr.ReasonOf(err) == "" {
		err = rpcerr.New(rpcerr.InvalidRequest, "%v", err)
	}
	if err == nil {
		sub.vars, err = s.Secrets.Variables(sub.project)
		err = s.internal("reading the project's variables", err)
	}
	return sub, err
}

func (s *runs) checkTree(ctx context.Context, digest string) error {
	if digest == "" {
		return nil
	}
	err := blob.Claim(ctx, s.Blobs, digest)
	switch {
	case errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrDigest):
		return rpcerr.New(rpcerr.InvalidRequest, "source.tree %.80q is not in the blob store; upload it first", digest)
	case err != nil:
		return s.internal("reading the source tree", err)
	}
	return nil
}

// plan compiles and pins images. The findings that it returns are warnings; errors are the error.
func (s *runs) plan(ctx context.Context, sub submission) (*planv1.Plan, diag.List, error) {
	tree := &sourceTree{open: func() (io.ReadCloser, error) {
		r, _, err := s.Blobs.Open(ctx, sub.source.GetTree())
		return r, err
	}, most: s.Limits.WorkflowBytes}
	read := tree.read
	if sub.source.GetTree() == "" {
		read = nil
	}
	plan, found := s.Compile(sub.path, sub.workflow, read)
	if plan == nil || found.HasErrors() {
		return nil, nil, s.invalid(found)
	}
	plan, err := compile.Only(plan, sub.jobs)
	if err != nil {
		return nil, nil, rpcerr.New(rpcerr.InvalidRequest, "%v", err)
	}
	contexts, err := engine.Contexts(&statev1.RunDefinition{Project: sub.project, Path: sub.path, Event: sub.event, EventPayload: sub.payload,
		Source: sub.source, Vars: sub.vars, Actor: identity.FromContext(ctx).Name}, plan)
	if err != nil {
		return nil, nil, rpcerr.New(rpcerr.InvalidRequest, "%v", err)
	}
	if err := s.addSecrets(sub, plan, contexts); err != nil {
		return nil, nil, err
	}
	more, err := s.Images.Fill(ctx, plan, contexts)
	if err != nil {
		return nil, nil, s.internal("resolving images", err)
	}
	found = append(found, more...).Sort()
	if found.HasErrors() {
		return nil, nil, s.invalid(found)
	}
	return plan, found, nil
}

// addSecrets gives contexts the secrets that containers' credentials name. They stay in memory, and are asked of again by the agent.
func (s *runs) addSecrets(sub submission, plan *planv1.Plan, contexts *expr.Object) error {
	names, all := images.SecretNames(plan)
	if !all && len(names) == 0 || engine.FromFork(sub.event, contexts) {
		return nil
	}
	values, err := s.Secrets.Values(sub.project, s.Secrets.Now(), func(name string) bool { return all || slices.Contains(names, name) })
	if err != nil {
		return s.internal("reading the secrets of credentials", err)
	}
	o := expr.NewObject()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		o.Set(name, expr.String(values[name]))
	}
	contexts.Set("secrets", o.Value())
	return nil
}

// storePlan puts the plan into the blob store. The encoding is deterministic, so that equal plans share a blob.
func (s *runs) storePlan(ctx context.Context, plan *planv1.Plan) (digest string, err error) {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(plan)
	if err == nil {
		digest, _, err = s.Blobs.Put(ctx, bytes.NewReader(data))
	}
	return digest, s.internal("storing the plan", err)
}

func (s *runs) invalid(found diag.List) error {
	n, first := 0, ""
	for _, d := range found {
		if d.Severity == diag.Error {
			if n++; n == 1 {
				first = d.String()
			}
		}
	}
	message := first
	if n > 1 {
		message = first + "\n… and " + plural(n-1, "more error")
	}
	return rpcerr.WithDetails(rpcerr.InvalidPipeline, message, &apiv1.Diagnostics{Diagnostics: messages(found)})
}

// traceparent is the W3C trace context that the caller sent (https://www.w3.org/TR/trace-context/); "" without one. Not that of this
// call's own span: a run outlives the call that submits it.
func traceparent(ctx context.Context) string {
	if sent := metadata.ValueFromIncomingContext(ctx, "traceparent"); len(sent) == 1 {
		return sent[0]
	}
	return ""
}
