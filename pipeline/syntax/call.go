package syntax

import (
	"go.yaml.in/yaml/v3"
)

var (
	callEventKeys  = makeKeys("`workflow_call`", "inputs secrets outputs")
	callSecretKeys = makeKeys("a secret of `workflow_call`", "description required")
	callOutputKeys = makeKeys("an output of `workflow_call`", "description value")
)

// callKeys are what a job with `uses` may have.
var callKeys = map[string]bool{"name": true, "needs": true, "if": true, "uses": true, "with": true, "secrets": true, "strategy": true,
	"concurrency": true, "permissions": true}

// workflowCall reads what a reusable workflow says of itself.
func (r *reader) workflowCall(e *Event, n *yaml.Node) {
	r.mapping(n, callEventKeys, func(key string, _, v *yaml.Node) {
		if shape(resolve(v)) == "empty" {
			return
		}
		switch key {
		case "inputs":
			r.inputs(e, v)
		case "secrets":
			r.pairs(v, "`secrets`", func(name *Scalar, _, value *yaml.Node) {
				e.Secrets = append(e.Secrets, r.callSecret(name, value))
			})
		case "outputs":
			r.pairs(v, "`outputs`", func(name *Scalar, _, value *yaml.Node) {
				out := &CallOutput{Name: name}
				e.Outputs = append(e.Outputs, out)
				r.mapping(value, callOutputKeys, func(key string, _, v *yaml.Node) {
					if s := r.scalar(v, "`"+key+"`"); key == "value" {
						out.Value = s
					}
				})
				if out.Value == nil {
					r.report(name.Pos, "missing-key", "add `value: ${{ jobs.JOB.outputs.NAME }}`", "the output `%s` has no `value`", clip(name.Text))
				}
			})
		}
	})
}

func (r *reader) callSecret(name *Scalar, value *yaml.Node) *CallSecret {
	s := &CallSecret{Name: name}
	if shape(resolve(value)) == "empty" {
		return s
	}
	r.mapping(value, callSecretKeys, func(key string, _, v *yaml.Node) {
		if key == "required" {
			b := r.boolean(v, "`required`")
			s.Required = b != nil && b.Text == "true"
		}
	})
	return s
}

// secrets reads `secrets:` of a call: inherit, or a mapping.
func (r *reader) secrets(j *Job, n *yaml.Node) {
	if resolve(n).Kind != yaml.ScalarNode {
		j.Secrets = r.textMap(n, "`secrets`")
		return
	}
	s := r.literal(n, "`secrets`")
	switch {
	case s == nil:
	case s.Text != "inherit":
		r.report(s.Pos, "bad-value", "", "`secrets` must be inherit or a mapping, not `%s`", clip(s.Text))
	default:
		j.InheritSecrets = true
	}
}

// onlyCalls reports the keys of a job that do not go with `uses`, or without it.
func (r *reader) onlyCalls(j *Job, keys []*Scalar) {
	for _, k := range keys {
		switch {
		case j.Uses != nil && !callKeys[k.Text]:
			r.report(k.Pos, "key-needs-steps", "the called workflow's own jobs say it",
				"`%s` is for jobs with `steps`, and the job `%s` calls a workflow with `uses`", k.Text, j.ID.Text)
		case j.Uses == nil && (k.Text == "with" || k.Text == "secrets"):
			r.report(k.Pos, "key-needs-uses", "", "`%s` is for jobs that call a workflow with `uses`, and the job `%s` has none", k.Text, j.ID.Text)
		}
	}
}
