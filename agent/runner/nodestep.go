package runner

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/slipway-ci/slipway/agent/actions"
	"github.com/slipway-ci/slipway/agent/commands"
	"github.com/slipway-ci/slipway/agent/native"
	"github.com/slipway-ci/slipway/agent/sandbox"
)

// nodeSpec is a node action's main or post as a process: the image's own Node.js runs a file of the action.
func (t *Attempt) nodeSpec(ctx context.Context, e entry, env []commands.Pair) (sandbox.StepSpec, error) {
	a := e.step.GetAction()
	limit, err := t.stepLimit(e, t.scope.of(e, env))
	if err != nil {
		return sandbox.StepSpec{}, err
	}
	script, err := t.nodeFile(e)
	if err != nil {
		return sandbox.StepSpec{}, err
	}
	inputs, err := t.actionInputs(e, env)
	if err != nil {
		return sandbox.StepSpec{}, err
	}
	if env, err = t.withPath(ctx, "", env); err != nil {
		return sandbox.StepSpec{}, err
	}
	node, err := t.node(ctx, a.GetUses(), uint64(a.GetNode().GetVersion()), env)
	if err != nil {
		return sandbox.StepSpec{}, err
	}
	more := t.actionVars(e)
	for _, p := range inputs {
		more = append(more, commands.Pair{Name: actions.InputVariable(p.Name), Value: p.Value})
	}
	if main := t.values.steps[e.of]; e.kind == kindPost && main != nil {
		for _, p := range main.State {
			more = append(more, commands.Pair{Name: "STATE_" + p.Name, Value: p.Value})
		}
	}
	action := e.step.GetId()
	if action == "" {
		action = "__self"
	}
	process, err := t.processEnv(e.number, env, action, t.traceparent(e.number), more...)
	if err != nil {
		return sandbox.StepSpec{}, err
	}
	if err := t.writeCommandFiles(e.number, "", ""); err != nil {
		return sandbox.StepSpec{}, err
	}
	return sandbox.StepSpec{
		ID: stepDir(e.number), Argv: []string{node.Binary, script}, Env: process, Dir: t.paths.Workspace,
		Output: t.dirs.LogPath(e.number), Timeout: t.stepTimeout(limit), Grace: Grace, Resources: stepResources(e.step),
	}, nil
}

// nodeFile is the file that a node action runs now, as the container sees it.
func (t *Attempt) nodeFile(e entry) (string, error) {
	a := e.step.GetAction()
	name := a.GetNode().GetPost()
	if e.kind != kindPost {
		if err := t.checkAction(e); err != nil {
			return "", err
		}
		name = a.GetNode().GetMain()
	}
	file := path.Join(a.GetPath(), name)
	info, err := t.trees[0].Root.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("the workspace has no %s, which %s runs: is it built before this step, or left out by .gitignore?", file, a.GetUses())
	case err != nil:
		return "", fmt.Errorf("%s, which %s runs, can't be read: %w", file, a.GetUses(), err)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s, which %s runs, is no file", file, a.GetUses())
	}
	return path.Join(t.paths.Workspace, file), nil
}

// node asks the image what runs an action.
func (t *Attempt) node(ctx context.Context, uses string, wanted uint64, env []commands.Pair) (actions.Node, error) {
	printed, code, err := t.probe(ctx, environ(env), "/bin/sh", "-c", actions.ListNodes, t.paths.ToolCache, native.NodeArch())
	if err != nil {
		return actions.Node{}, fmt.Errorf("ask the image for its Node.js: %w", err)
	}
	if code != 0 {
		return actions.Node{}, fmt.Errorf("ask the image for its Node.js: its /bin/sh ended with exit code %d", code)
	}
	return actions.Pick(uses, wanted, actions.Nodes(printed), t.paths.ToolCache)
}
