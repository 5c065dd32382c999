package show

import (
	"fmt"
	"io"
	"strings"
	"time"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// scopeOf is how people call where a secret or a variable is from.
func scopeOf(project string) string {
	if project == "" {
		return "organisation"
	}
	return "project " + safe(project)
}

// Secrets writes a table of secrets, without values: nobody is told those.
func Secrets(w io.Writer, secrets []*apiv1.Secret, now time.Time) error {
	if len(secrets) == 0 {
		_, err := fmt.Fprintln(w, "no secrets: `slipway secrets set NAME` keeps one")
		return err
	}
	var rows [][]string
	for _, s := range secrets {
		rows = append(rows, []string{s.GetName(), scopeOf(s.GetProject()), fmt.Sprint(s.GetVersion()), ago(s.GetUpdatedMs(), now), safe(s.GetUpdatedBy())})
	}
	return table(w, "NAME SCOPE VERSION UPDATED BY", rows)
}

// mostShown bounds a variable's value in a table, in bytes.
const mostShown = 60

// Variables writes a table of variables.
func Variables(w io.Writer, variables []*apiv1.Variable, now time.Time) error {
	if len(variables) == 0 {
		_, err := fmt.Fprintln(w, "no variables: `slipway vars set NAME VALUE` keeps one")
		return err
	}
	var rows [][]string
	for _, v := range variables {
		line, more, cut := strings.Cut(v.GetValue(), "\n")
		if len(line) > mostShown {
			line, cut = strings.ToValidUTF8(line[:mostShown], ""), true
		}
		if cut && (more != "" || len(line) == mostShown) {
			line += "…"
		}
		rows = append(rows, []string{v.GetName(), scopeOf(v.GetProject()), safe(line), fmt.Sprint(v.GetVersion()), ago(v.GetUpdatedMs(), now), safe(v.GetUpdatedBy())})
	}
	return table(w, "NAME SCOPE VALUE VERSION UPDATED BY", rows)
}

// SetSecret says what was kept.
func SetSecret(w io.Writer, s *apiv1.Secret) error {
	_, err := fmt.Fprintf(w, "set secret %s of %s, version %d\n", s.GetName(), scopeOf(s.GetProject()), s.GetVersion())
	return err
}

// SetVariable says what was kept.
func SetVariable(w io.Writer, v *apiv1.Variable) error {
	_, err := fmt.Fprintf(w, "set variable %s of %s, version %d\n", v.GetName(), scopeOf(v.GetProject()), v.GetVersion())
	return err
}

// Removed says what is gone.
func Removed(w io.Writer, what, name, project string) error {
	_, err := fmt.Fprintf(w, "removed %s %s of %s\n", what, strings.ToUpper(name), scopeOf(project))
	return err
}
