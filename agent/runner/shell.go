package runner

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/dockeropts"
)

// command returns the argument list for a script and the extension of the script's file. shell is "" where the workflow
// says nothing: then it is `bash -e`, in a job container `sh -e`. dir is where the script will lie in the container.
func command(shell string, inContainer bool, dir string) (argv []string, script string, err error) {
	var template string
	ext := ".sh"
	switch strings.TrimSpace(shell) {
	case "":
		template = "bash -e {0}"
		if inContainer {
			template = "sh -e {0}"
		}
	case "bash":
		template = "bash --noprofile --norc -e -o pipefail {0}"
	case "sh":
		template = "sh -e {0}"
	case "python":
		template, ext = "python {0}", ".py"
	case "pwsh":
		script = path.Join(dir, "script.ps1")
		return []string{"pwsh", "-command", ". '" + script + "'"}, script, nil
	case "cmd", "powershell":
		return nil, "", fmt.Errorf("shell: %s exists on Windows only", shell)
	default:
		if !strings.Contains(shell, "{0}") {
			return nil, "", fmt.Errorf("shell: %q is neither bash, sh, python or pwsh, nor a command with {0} in the script's place", shell)
		}
		template = shell
	}
	words, err := dockeropts.Words(template)
	if err != nil {
		return nil, "", fmt.Errorf("shell: %q: %w", shell, err)
	}
	script = path.Join(dir, "script"+ext)
	for i, w := range words {
		words[i] = strings.ReplaceAll(w, "{0}", script)
	}
	return words, script, nil
}

// otherwise is what runs a script in an image that lacks the first choice: sh where the workflow names no shell and there
// is no bash, as GitHub's runner does; python3 for python, which many images have under that name only.
func otherwise(shell string, inContainer bool, script string) []string {
	switch s := strings.TrimSpace(shell); {
	case s == "" && !inContainer:
		return []string{"sh", "-e", script}
	case s == "python":
		return []string{"python3", script}
	}
	return nil
}

// scriptText is a script with Linux line ends.
func scriptText(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }

var maskCommand = regexp.MustCompile(`(?i)::add-mask::`)

// display is a script's first line, for a step without a name. What is secret in the script is masked already: once cut, a part of it would not
// be recognised.
func display(script string) string {
	lines := strings.Split(strings.TrimSpace(scriptText(script)), "\n")
	first := strings.TrimSpace(lines[0])
	if at := maskCommand.FindStringIndex(first); at != nil {
		// Seen before the step runs, and so before it can hide the value.
		first = first[:at[1]] + "***"
	}
	const most = 100
	if r := []rune(first); len(r) > most {
		first = string(r[:most]) + "…"
	}
	return "Run " + first
}

// workingDir is a step's directory in the container; relative ones begin at the workspace.
func workingDir(workspace string, candidates ...string) string {
	i := slices.IndexFunc(candidates, func(s string) bool { return s != "" })
	if i < 0 {
		return workspace
	}
	if path.IsAbs(candidates[i]) {
		return path.Clean(candidates[i])
	}
	return path.Join(workspace, candidates[i])
}
