package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/slipway-ci/slipway/e2e/cluster"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// patience bounds everything that a case waits for.
const patience = 3 * time.Minute

// differences runs a case and judges it. An error is a failure of the harness or of the system, never a difference.
func differences(t *testing.T, c *testcase) ([]string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dir := t.TempDir()
	if err := c.layOut(dir); err != nil {
		return nil, err
	}
	if c.want.Git {
		if err := commit(ctx, dir); err != nil {
			return nil, err
		}
	}
	findings, err := validate(ctx, dir, c.workflow())
	if err != nil {
		return nil, err
	}
	if len(c.want.Series) > 0 {
		runs, err := series(ctx, dir, c)
		return judgeSeries(c.want, findings, runs), err
	}
	o, err := observe(ctx, dir, c)
	o.findings = findings
	return judge(c.want, o), err
}

// observe runs a case of one run.
func observe(ctx context.Context, dir string, c *testcase) (o observed, err error) {
	args := []string{"run", c.workflow()}
	if c.want.Event != "" {
		args = append(args, "--event", c.want.Event)
	}
	if c.has(eventFile) {
		args = append(args, "--payload", eventFile)
	}
	if len(c.want.Secrets)+len(c.want.Vars) > 0 {
		if args, err = settings(ctx, dir, c, args); err != nil {
			return o, err
		}
	}
	var res cluster.Result
	if c.want.Cancel == nil {
		res, err = sys.Slipway(ctx, dir, append(slices.Clone(args), "-o", "json")...)
	} else {
		res, err = runAndCancel(ctx, dir, args, *c.want.Cancel)
	}
	if err != nil {
		return o, err
	}
	o.code, o.stderr = res.Code, res.Stderr
	if strings.TrimSpace(res.Stdout) == "" {
		return o, nil
	}
	if o.run, err = decodeRun(res.Stdout); err != nil {
		return o, err
	}
	o.logs, err = logsOf(ctx, o.run.GetId())
	return o, err
}

// settings keeps the secrets and variables of a case in a project of its own, and returns the arguments with it.
func settings(ctx context.Context, dir string, c *testcase, args []string) ([]string, error) {
	project := "case/" + c.name
	for what, values := range map[string]map[string]string{"secrets": c.want.Secrets, "vars": c.want.Vars} {
		for name, value := range values {
			cmd := sys.Command(ctx, dir, what, "set", name, "--project", project)
			cmd.Stdin = strings.NewReader(value)
			if out, err := cmd.CombinedOutput(); err != nil {
				return nil, fmt.Errorf("slipway %s set %s: %w: %s", what, name, err, out)
			}
		}
	}
	return append(args, "--project", project), nil
}

// commit makes the directory a repository with one commit on main.
func commit(ctx context.Context, dir string) error {
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"commit", "-q", "-m", "one"}} {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@example.com",
			"GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@example.com")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

func validate(ctx context.Context, dir, file string) ([]finding, error) {
	res, err := sys.Slipway(ctx, dir, "validate", file, "-o", "json")
	if err != nil {
		return nil, err
	}
	var files []struct{ Findings []finding }
	if err := json.Unmarshal([]byte(res.Stdout), &files); err != nil || len(files) != 1 {
		return nil, fmt.Errorf("slipway validate: exit code %d, %d files: %w: %s%s", res.Code, len(files), err, res.Stdout, res.Stderr)
	}
	return files[0].Findings, nil
}

func decodeRun(text string) (*apiv1.Run, error) {
	var raw []json.RawMessage
	if err := json.Unmarshal([]byte(text), &raw); err != nil || len(raw) != 1 {
		return nil, fmt.Errorf("slipway run: %d runs: %w: %s", len(raw), err, text)
	}
	run := new(apiv1.Run)
	return run, protojson.Unmarshal(raw[0], run)
}

// runAndCancel runs a case as on a terminal, and presses Ctrl-C at a moment.
func runAndCancel(ctx context.Context, dir string, args []string, at moment) (cluster.Result, error) {
	cmd := sys.Command(ctx, dir, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return cluster.Result{}, err
	}
	if err := cmd.Start(); err != nil {
		return cluster.Result{}, err
	}
	var id string
	var said strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line := lines.Text()
		said.WriteString(line + "\n")
		if _, rest, ok := strings.Cut(line, " > run "); ok && id == "" {
			id, _, _ = strings.Cut(rest, ",")
		}
		if strings.Contains(line, at.Job+" | "+at.Log) {
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				return cluster.Result{}, err
			}
		}
	}
	err = cmd.Wait()
	if exited := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exited) {
		return cluster.Result{}, err
	}
	if id == "" {
		return cluster.Result{}, fmt.Errorf("slipway run: no run: %s%s", &said, &stderr)
	}
	res, err := sys.Slipway(ctx, dir, "runs", "show", id, "-o", "json")
	return cluster.Result{Stdout: "[" + res.Stdout + "]", Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}, err
}

// logsOf reads all logs of a run, once they are complete.
func logsOf(ctx context.Context, id string) (map[string]map[uint32]string, error) {
	cl, err := sys.Client()
	if err != nil {
		return nil, err
	}
	defer cl.Release()
	logs := map[string]map[uint32]string{}
	err = cl.Logs(ctx, &apiv1.StreamLogsRequest{RunId: id, Follow: true}, func(l *apiv1.StreamLogsResponse) error {
		if logs[l.GetJobId()] == nil {
			logs[l.GetJobId()] = map[uint32]string{}
		}
		logs[l.GetJobId()][l.GetStep()] += string(l.GetData())
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("logs of %s: %w", id, err)
	}
	return logs, nil
}
