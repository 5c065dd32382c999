package syntax

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/slipway-ci/slipway/pipeline/diag"
)

var (
	workflowKeys    = makeKeys("the workflow", "name description run-name on env defaults permissions concurrency jobs")
	defaultsKeys    = makeKeys("`defaults`", "run")
	defaultsRunKeys = makeKeys("`defaults.run`", "shell working-directory")
	concurrencyKeys = makeKeys("`concurrency`", "group cancel-in-progress queue")
	branchEventKeys = makeKeys("this event", "types branches branches-ignore paths paths-ignore")
	pushKeys        = makeKeys("`push`", "branches branches-ignore tags tags-ignore paths paths-ignore")
	dispatchKeys    = makeKeys("`workflow_dispatch`", "inputs")
	inputKeys       = makeKeys("an input", "description required default type options deprecationMessage")
	scheduleKeys    = makeKeys("an item of `schedule`", "cron timezone")
	otherEventKeys  = makeKeys("this event", "types branches branches-ignore workflows versions names")
	permissionKeys  = makeKeys("`permissions`", `actions artifact-metadata attestations checks code-quality contents
		copilot-requests deployments discussions drives id-token issues models packages pages pull-requests
		repository-projects security-events statuses vulnerability-alerts`)
)

// Events are all that GitHub knows.
var Events = strings.Fields(`branch_protection_rule check_run check_suite create delete deployment deployment_status
	discussion discussion_comment fork gollum image_version issue_comment issues label merge_group milestone page_build
	project project_card project_column public pull_request pull_request_comment pull_request_review
	pull_request_review_comment pull_request_target push registry_package release repository_dispatch schedule status
	watch workflow_call workflow_dispatch workflow_run`)

// PermissionScopes are all that `permissions` knows.
func PermissionScopes() []string { return slices.Clone(permissionKeys.names) }

func (r *reader) workflow(root *yaml.Node) {
	f := r.file
	hasOn, hasJobs := false, false
	r.mapping(root, workflowKeys, func(key string, _, v *yaml.Node) {
		switch key {
		case "name":
			f.Name = r.scalar(v, "`name`")
		case "description":
			r.scalar(v, "`description`")
		case "run-name":
			f.RunName = r.scalar(v, "`run-name`")
		case "on":
			hasOn = true
			r.on(v)
		case "env":
			f.Env = r.textMap(v, "`env`")
		case "defaults":
			f.Defaults = r.defaults(v)
		case "permissions":
			f.Permissions = r.permissions(v)
		case "concurrency":
			f.Concurrency = r.concurrency(v)
		case "jobs":
			hasJobs = true
			r.jobs(v)
		}
	})
	if !hasOn {
		r.report(pos(root), "missing-key", "add `on: push`, say", "the workflow does not say what starts it: `on` is missing")
	}
	if !hasJobs {
		r.report(pos(root), "missing-key", "", "the workflow has nothing to do: `jobs` is missing")
	}
}

func (r *reader) on(n *yaml.Node) {
	v := resolve(n)
	switch v.Kind {
	case yaml.SequenceNode:
		for _, item := range v.Content {
			if name := r.literal(item, "an item of `on`"); name != nil {
				r.event(name, nil)
			}
		}
	case yaml.MappingNode:
		r.pairs(n, "`on`", func(name *Scalar, _, value *yaml.Node) { r.event(name, value) })
	case yaml.ScalarNode, yaml.DocumentNode, yaml.AliasNode:
		if name := r.literal(n, "`on`"); name != nil {
			r.event(name, nil)
		}
	}
	if len(r.file.On) == 0 && len(r.found) == 0 {
		r.report(pos(n), "empty-value", "add `push`, say", "`on` names no event, so nothing would start the workflow")
	}
}

func (r *reader) event(name *Scalar, n *yaml.Node) {
	if !slices.Contains(Events, name.Text) {
		r.report(name.Pos, "unknown-event", diag.DidYouMean(name.Text, Events), "unknown event `%s` in `on`", clip(name.Text))
		return
	}
	e := &Event{Name: name}
	r.file.On = append(r.file.On, e)
	if n == nil || shape(resolve(n)) == "empty" {
		return
	}
	switch name.Text {
	case "push":
		r.mapping(n, pushKeys, func(key string, _, v *yaml.Node) { r.filter(e, key, v) })
	case "pull_request", "pull_request_target":
		r.mapping(n, branchEventKeys, func(key string, _, v *yaml.Node) { r.filter(e, key, v) })
	case "workflow_dispatch":
		r.mapping(n, dispatchKeys, func(_ string, _, v *yaml.Node) { r.inputs(e, v) })
	case "schedule":
		r.schedule(e, n)
	case "workflow_call":
		r.workflowCall(e, n)
	default:
		r.mapping(n, otherEventKeys, func(key string, _, v *yaml.Node) { r.filter(e, key, v) })
	}
}

func (r *reader) filter(e *Event, key string, v *yaml.Node) {
	list := r.texts(v, "`"+key+"`")
	switch key {
	case "types":
		e.Types, e.HasTypes = list, true
	case "branches":
		e.Branches, e.HasBranches = list, true
	case "branches-ignore":
		e.BranchesIgnore, e.HasBranchesIgnore = list, true
	case "tags":
		e.Tags, e.HasTags = list, true
	case "tags-ignore":
		e.TagsIgnore, e.HasTagsIgnore = list, true
	case "paths":
		e.Paths, e.HasPaths = list, true
	case "paths-ignore":
		e.PathsIgnore, e.HasPathsIgnore = list, true
	}
}

func (r *reader) schedule(e *Event, n *yaml.Node) {
	v := resolve(n)
	if v.Kind != yaml.SequenceNode {
		r.report(pos(n), "wrong-type", "", "`schedule` must be a list, and it is %s", shape(v))
		return
	}
	for _, item := range v.Content {
		r.mapping(item, scheduleKeys, func(key string, _, v *yaml.Node) {
			if s := r.literal(v, "`"+key+"`"); s != nil && key == "cron" {
				e.Cron = append(e.Cron, s)
			}
		})
	}
}

func (r *reader) inputs(e *Event, n *yaml.Node) {
	if shape(resolve(n)) == "empty" {
		return
	}
	r.pairs(n, "`inputs`", func(name *Scalar, _, value *yaml.Node) {
		in := &Input{Name: name}
		e.Inputs = append(e.Inputs, in)
		if shape(resolve(value)) == "empty" {
			return
		}
		r.mapping(value, inputKeys, func(key string, _, v *yaml.Node) {
			switch key {
			case "description":
				in.Description = r.scalar(v, "`description`")
			case "type":
				in.Type = r.literal(v, "`type`")
			case "default":
				in.Default = r.scalar(v, "`default`")
			case "options":
				in.Options = r.list(v, "`options`")
			case "required":
				if s := r.boolean(v, "`required`"); s != nil {
					in.Required = s.Text == "true"
				}
			}
		})
	})
}

func (r *reader) defaults(n *yaml.Node) *Defaults {
	d := &Defaults{}
	r.mapping(n, defaultsKeys, func(_ string, _, run *yaml.Node) {
		r.mapping(run, defaultsRunKeys, func(key string, _, v *yaml.Node) {
			switch key {
			case "shell":
				d.Shell = r.text(v, "`shell`")
			case "working-directory":
				d.WorkingDirectory = r.text(v, "`working-directory`")
			}
		})
	})
	return d
}

func (r *reader) concurrency(n *yaml.Node) *Concurrency {
	c := &Concurrency{Pos: pos(n)}
	if resolve(n).Kind == yaml.ScalarNode {
		if c.Group = r.text(n, "`concurrency`"); c.Group == nil {
			return nil
		}
		return c
	}
	r.mapping(n, concurrencyKeys, func(key string, _, v *yaml.Node) {
		switch key {
		case "group":
			c.Group = r.text(v, "`group`")
		case "cancel-in-progress":
			c.CancelInProgress = r.boolean(v, "`cancel-in-progress`")
		case "queue":
			c.Queue = r.text(v, "`queue`")
		}
	})
	if c.Group == nil {
		r.report(c.Pos, "missing-key", "", "`concurrency` needs a `group`")
		return nil
	}
	return c
}

func (r *reader) permissions(n *yaml.Node) *Permissions {
	p := &Permissions{Pos: pos(n)}
	if v := resolve(n); v.Kind == yaml.ScalarNode {
		p.All = r.scalar(n, "`permissions`")
		if p.All != nil && p.All.Text != "read-all" && p.All.Text != "write-all" {
			r.report(p.All.Pos, "bad-value", diag.DidYouMean(p.All.Text, []string{"read-all", "write-all"}),
				"`permissions` must be read-all, write-all or a mapping, not `%s`", clip(p.All.Text))
			return nil
		}
		return p
	}
	r.mapping(n, permissionKeys, func(key string, _, v *yaml.Node) {
		level := r.scalar(v, "`"+key+"`")
		if level == nil {
			return
		}
		levels := []string{"read", "write", "none"}
		if !slices.Contains(levels, level.Text) {
			r.report(level.Pos, "bad-value", diag.DidYouMean(level.Text, levels),
				"the permission `%s` must be read, write or none, not `%s`", key, clip(level.Text))
			return
		}
		p.Scopes = append(p.Scopes, Pair{&Scalar{Pos: level.Pos, Text: key}, level})
	})
	return p
}
