package engine

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/resolve"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// The paths of a job's container that contexts name.
const workspacePath = "/github/workspace"

// Contexts are those that every job of a run sees: github, inputs, vars. Also usable before submit, on a definition without id: for `run-name` and
// for images. The error is about the event's payload and the inputs in it.
func Contexts(def *statev1.RunDefinition, plan *planv1.Plan) (*expr.Object, error) {
	payload := def.GetEventPayload()
	if strings.TrimSpace(payload) == "" {
		payload = "{}"
	}
	event, err := expr.FromJSON([]byte(payload))
	if err != nil {
		return nil, fmt.Errorf("the event's payload is not JSON: %w", err)
	}
	if event.Kind() != expr.KindObject {
		return nil, fmt.Errorf("the event's payload must be a JSON object, not %s", strings.ToLower(event.Kind().String()))
	}
	given, err := inputs(def, plan, event)
	if err != nil {
		return nil, err
	}
	return expr.NewObject(
		expr.Pair{Key: "github", Value: github(def, plan, event)},
		expr.Pair{Key: "inputs", Value: given},
		expr.Pair{Key: "vars", Value: variables(def)},
	), nil
}

// variables are those that the run was submitted with.
func variables(def *statev1.RunDefinition) expr.Value {
	o := expr.NewObject()
	for _, name := range slices.Sorted(maps.Keys(def.GetVars())) {
		o.Set(name, expr.String(def.GetVars()[name]))
	}
	return o.Value()
}

func github(def *statev1.RunDefinition, plan *planv1.Plan, event expr.Value) expr.Value {
	src := def.GetSource()
	owner, _, _ := strings.Cut(src.GetRepository(), "/")
	refName, refType := splitRef(src)
	head, base := event.Get("pull_request").Get("head").Get("ref").Text(), event.Get("pull_request").Get("base").Get("ref").Text()
	workflow := plan.GetName()
	if workflow == "" {
		workflow = def.GetPath()
	}
	text := func(k, v string) expr.Pair { return expr.Pair{Key: k, Value: expr.String(v)} }
	return expr.NewObject(
		text("token", ""),
		text("job", ""),
		text("ref", src.GetRef()),
		text("sha", src.GetSha()),
		text("repository", src.GetRepository()),
		text("repository_owner", owner),
		text("run_id", originOf(def)),
		text("run_number", "0"),
		text("run_attempt", fmt.Sprint(attemptOf(def))),
		text("actor", def.GetActor()),
		text("triggering_actor", cmp.Or(def.GetRerun().GetBy(), def.GetActor())),
		text("workflow", workflow),
		text("workflow_ref", src.GetRepository()+"/"+def.GetPath()+"@"+src.GetRef()),
		text("workflow_sha", src.GetSha()),
		text("head_ref", head),
		text("base_ref", base),
		text("event_name", def.GetEvent()),
		expr.Pair{Key: "event", Value: event},
		text("server_url", ""),
		text("api_url", ""),
		text("graphql_url", ""),
		text("ref_name", refName),
		expr.Pair{Key: "ref_protected", Value: expr.Bool(false)},
		text("ref_type", refType),
		text("workspace", workspacePath),
	).Value()
}

func splitRef(src *corev1.Source) (name, kind string) {
	ref := src.GetRef()
	switch {
	case strings.HasPrefix(ref, "refs/tags/"):
		return strings.TrimPrefix(ref, "refs/tags/"), "tag"
	case strings.HasPrefix(ref, "refs/heads/"):
		return strings.TrimPrefix(ref, "refs/heads/"), "branch"
	default:
		return strings.TrimPrefix(ref, "refs/pull/"), "branch"
	}
}

// inputs are what the event gives, with the types and defaults of `on.workflow_dispatch.inputs`. Other events give none.
func inputs(def *statev1.RunDefinition, plan *planv1.Plan, event expr.Value) (expr.Value, error) {
	if def.GetEvent() != "workflow_dispatch" {
		return expr.NewObject().Value(), nil
	}
	return resolve.Inputs(plan, event.Get("inputs"))
}

// withGitHub returns contexts whose github has some properties set.
func withGitHub(contexts *expr.Object, pairs ...expr.Pair) *expr.Object {
	old, _ := contexts.Get("github")
	return contexts.With(expr.Pair{Key: "github", Value: old.Object().With(pairs...).Value()})
}
