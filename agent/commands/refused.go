package commands

import (
	"fmt"
	"slices"
	"strings"
)

// known are the workflow commands of GitHub's runner; none may be the token that ends a stop of all commands.
var known = []string{
	"add-mask", "add-matcher", "add-path", "debug", "echo", "endgroup", "error", "group", "notice", "remove-matcher", "save-state", "set-env",
	"set-output", "stop-commands", "warning",
}

// Refused says why a command fails its step, as it does on GitHub's runner; "" for every other.
func (c Command) Refused() string {
	switch c.Name {
	case "set-env":
		return "The command ::set-env:: is disabled, as whoever may print could set any variable: write NAME=VALUE into the file $GITHUB_ENV instead."
	case "add-path":
		return "The command ::add-path:: is disabled, as whoever may print could change PATH: write the directory into the file $GITHUB_PATH instead."
	case "set-output", "save-state":
		if c.Properties["name"] == "" {
			return fmt.Sprintf("The command ::%s:: has no name: write ::%s name=NAME::VALUE.", c.Name, c.Name)
		}
	case "echo":
		if v := strings.TrimSpace(c.Value); !strings.EqualFold(v, "on") && !strings.EqualFold(v, "off") {
			return fmt.Sprintf("The command ::echo:: takes on or off, not %q.", quote(c.Value))
		}
	case "stop-commands":
		if token := strings.ToLower(c.Value); token == "" || token == "pause-logging" || slices.Contains(known, token) {
			return fmt.Sprintf("The command ::stop-commands:: needs a token that nobody guesses and that is no command itself, not %q; commands go on.", quote(c.Value))
		}
	}
	return ""
}
