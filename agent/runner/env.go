package runner

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-ci/slipway/agent/commands"
	"github.com/slipway-ci/slipway/pipeline/expr"
)

// githubVars are the members of the github context that become GITHUB_… variables of a step, as GitHub's runner has them.
var githubVars = []string{
	"action", "actor", "actor_id", "api_url", "base_ref", "event_name", "event_path", "graphql_url", "head_ref", "job", "ref", "ref_name",
	"ref_protected", "ref_type", "repository", "repository_id", "repository_owner", "repository_owner_id", "retention_days", "run_attempt",
	"run_id", "run_number", "server_url", "sha", "triggering_actor", "workflow", "workflow_ref", "workflow_sha", "workspace",
}

// fileCommands are the variables that name a step's command files, and the files' names.
var fileCommands = []struct{ variable, file string }{
	{"GITHUB_OUTPUT", "output"}, {"GITHUB_ENV", "env"}, {"GITHUB_PATH", "path"}, {"GITHUB_STATE", "state"}, {"GITHUB_STEP_SUMMARY", "summary"},
}

func stepDir(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// commandsDir is where a step's script and command files lie, as the step sees it.
func (t *Attempt) commandsDir(n uint32) string { return t.paths.Commands + "/" + stepDir(n) }

// processEnv is the whole environment of a step's process. env is workflow < job < GITHUB_ENV < step; GITHUB_… and
// RUNNER_… go over all of it, and more over these.
func (t *Attempt) processEnv(n uint32, env []commands.Pair, action, traceparent string, more ...commands.Pair) ([]string, error) {
	all := []commands.Pair{{Name: "CI", Value: "true"}, {Name: "HOME", Value: t.paths.Home}}
	set := func(name, value string) { all = append(all, commands.Pair{Name: name, Value: value}) }
	if traceparent != "" {
		set("TRACEPARENT", traceparent)
	}
	for _, p := range env {
		if p.Name == "" || strings.ContainsAny(p.Name, "=\x00") || strings.ContainsRune(p.Value, 0) {
			return nil, fmt.Errorf("env: %q can't be an environment variable: a name may not be empty or hold '=', and nothing may hold a NUL character", p.Name)
		}
		set(p.Name, p.Value)
	}
	github := t.scope.fixed.Value().Get("github")
	set("GITHUB_ACTIONS", "true")
	for _, name := range githubVars {
		if v := github.Get(name); v.IsPrimitive() && !v.IsNull() {
			set("GITHUB_"+strings.ToUpper(name), v.Text())
		}
	}
	set("GITHUB_ACTION", action)
	for _, c := range fileCommands {
		set(c.variable, t.commandsDir(n)+"/"+c.file)
	}
	if t.debugs() {
		set("RUNNER_DEBUG", "1")
	}
	runner := t.scope.fixed.Value().Get("runner")
	for _, name := range []string{"name", "os", "arch", "temp", "tool_cache", "workspace", "environment"} {
		set("RUNNER_"+strings.ToUpper(name), runner.Get(name).Text())
	}
	for _, p := range more {
		if strings.ContainsAny(p.Name, "=\x00") || strings.ContainsRune(p.Value, 0) {
			return nil, fmt.Errorf("with: %q can't be an input: its name may not hold '=', and nothing may hold a NUL character", strings.TrimPrefix(p.Name, "INPUT_"))
		}
		set(p.Name, p.Value)
	}
	return environ(commands.Merge(nil, all...)), nil
}

func environ(pairs []commands.Pair) []string {
	list := make([]string, len(pairs))
	for i, p := range pairs {
		list[i] = p.Name + "=" + p.Value
	}
	return list
}

// withPath puts the GITHUB_PATH entries in front of the PATH that the step would have.
func withPath(env []commands.Pair, paths []string, podPath string) []commands.Pair {
	if len(paths) == 0 {
		return env
	}
	rest := podPath
	for _, p := range env {
		if p.Name == "PATH" {
			rest = p.Value
		}
	}
	all := strings.Join(paths, ":")
	if rest != "" {
		all += ":" + rest
	}
	return commands.Merge(slices.Clone(env), commands.Pair{Name: "PATH", Value: all})
}

// eventPayload is the JSON of `github.event`.
func (t *Attempt) eventPayload() string {
	v := t.scope.fixed.Value().Get("github").Get("event")
	if v.Object() == nil {
		return "{}"
	}
	return expr.ToJSON(v)
}
