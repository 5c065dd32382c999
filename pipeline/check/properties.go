package check

import (
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/syntax"
)

// properties are what contexts of a fixed shape have (GitHub's "Contexts reference"). The others depend on the file.
var properties = map[string][]string{
	"github": strings.Fields(`action action_path action_ref action_repository action_status actor actor_id api_url
		artifact_cache_size_limit base_ref env event event_name event_path graphql_url head_ref job job_workflow_sha output path
		ref ref_name ref_protected ref_type repository repository_id repository_owner repository_owner_id repository_visibility
		repositoryUrl retention_days run_attempt run_id run_number secret_source server_url sha state step_summary token
		triggering_actor workflow workflow_ref workflow_sha workspace`),
	"runner":   strings.Fields("arch debug environment name os temp tool_cache workspace"),
	"strategy": strings.Fields("fail-fast job-index job-total max-parallel"),
	"job": strings.Fields(`check_run_id container services status workflow_file_path workflow_ref workflow_repository
		workflow_sha`),
}

// entries are what each entry of a context has: needs.build.result.
var entries = map[string][]string{
	"needs": {"result", "outputs"},
	"steps": {"outputs", "outcome", "conclusion"},
}

// property warns about a property that no context of that name ever has.
func (c *checker) property(s *syntax.Scalar, offset int, ref expr.Reference) {
	at := func() syntax.Pos { return c.file.Place(s, offset+ref.Offset) }
	if known, ok := properties[ref.Context]; ok && !slices.ContainsFunc(known, fold(ref.Path[0])) {
		c.warnf(at(), "unknown-reference", diag.DidYouMean(ref.Path[0], known),
			"`%s.%s` is always null: the context has no such property", ref.Context, ref.Path[0])
	}
	if known, ok := entries[ref.Context]; ok && len(ref.Path) > 1 && ref.Path[1] != "*" && !slices.ContainsFunc(known, fold(ref.Path[1])) {
		c.warnf(at(), "unknown-reference", diag.DidYouMean(ref.Path[1], known),
			"`%s.%s` is always null: an entry of `%s` has %s", ref.Context, strings.Join(ref.Path[:2], "."), ref.Context, strings.Join(known, ", "))
	}
	if ref.Context == "inputs" {
		if !c.inputs.has(ref.Path[0]) {
			c.warnf(at(), "unknown-reference", diag.DidYouMean(ref.Path[0], c.inputs.list), "`inputs.%s` is always null: the %s defines no such input", ref.Path[0], c.whose)
		}
	}
}

func fold(name string) func(string) bool {
	return func(other string) bool { return strings.EqualFold(name, other) }
}
