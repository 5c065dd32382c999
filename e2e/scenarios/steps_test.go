package scenarios

import (
	"strings"
	"testing"

	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// TestConditionsOfSteps: success by default, failure(), always(), outcome and conclusion.
func TestConditionsOfSteps(t *testing.T) {
	t.Parallel()
	o := workflow(t, oneJob(`
defaults: {run: {shell: sh}}
steps:
  - {id: soft, run: exit 4, continue-on-error: true}
  - run: echo "soft ${{ steps.soft.outcome }} ${{ steps.soft.conclusion }} ${{ job.status }}"
  - {run: echo never, if: failure()}
  - {id: hard, run: echo hard; exit 5}
  - {run: echo never again}
  - {run: echo never either, if: "success() || false"}
  - {run: 'echo "failure ${{ steps.hard.outcome }} ${{ job.status }}"', if: failure()}
  - {run: 'echo "always ${{ steps.soft.outcome }}"', if: always()}
  - {run: echo by outcome, if: "!cancelled() && steps.hard.outcome == 'failure'"}
  - {run: exit 6, if: always()}
`)).run(failed)
	o.wantLog("a", "soft failure success success\nhard\nfailure failure failure\nalways failure\nby outcome\n")
	var conclusions []string
	for _, s := range o.job("a").GetSteps() {
		conclusions = append(conclusions, strings.TrimPrefix(s.GetConclusion().String(), "RESULT_"))
	}
	want := "SUCCESS SUCCESS SUCCESS SKIPPED FAILURE SKIPPED SKIPPED SUCCESS SUCCESS SUCCESS FAILURE SUCCESS"
	if got := strings.Join(conclusions, " "); got != want {
		t.Errorf("conclusions\n%s, want\n%s", got, want)
	}
	if f := o.job("a").GetFailure(); f == nil || !strings.Contains(f.GetMessage(), "exit code 5") {
		t.Errorf("the job's failure is %v, want that of the first step that failed", f)
	}
}

// TestEnvironment: workflow < job < GITHUB_ENV < step, and GITHUB_*, RUNNER_* and CI over all.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	o := workflow(t, `
name: Environment
on: push
env: {A: workflow, B: workflow, C: workflow, D: workflow, GITHUB_JOB: mine}
defaults: {run: {shell: sh}}
jobs:
  a:
    runs-on: busybox
    env: {B: job, C: job, D: job, E: "${{ github.job }}-e"}
    steps:
      - run: |
          echo C=set >> "$GITHUB_ENV"
          echo D=set >> "$GITHUB_ENV"
          printf 'MANY<<EOF\none\ntwo\nEOF\n' >> "$GITHUB_ENV"
          echo "now $C"
      - env: {D: step, F: "${{ env.C }}"}
        run: |
          echo "$A $B $C $D $E $F"
          echo "$MANY"
          echo "${{ env.D }} ${{ env.C }} ${{ env.a }}|"
      - run: |
          echo "$GITHUB_JOB $CI $GITHUB_ACTIONS $RUNNER_OS $GITHUB_WORKFLOW $GITHUB_EVENT_NAME $GITHUB_REF_NAME"
          echo "$HOME $GITHUB_WORKSPACE $PWD $RUNNER_TEMP"
          test -d "$RUNNER_TEMP" && cat "$GITHUB_EVENT_PATH"
      - run: echo NODE_OPTIONS=--bad >> "$GITHUB_ENV"
        continue-on-error: true
        id: refused
      - run: echo "[$NODE_OPTIONS] ${{ steps.refused.outcome }}"
`).run(succeeded)
	log := o.log("a")
	for _, want := range []string{
		"now job\n", "workflow job set step a-e set\n", "one\ntwo\n", "step set |\n", "a true true Linux Environment push main\n",
		"/github/home /github/workspace /github/workspace /github/runner_temp\n{}", "[] failure\n",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("log lacks %q:\n%s", want, log)
		}
	}
}

// TestFileCommands: GITHUB_OUTPUT, GITHUB_PATH, GITHUB_STEP_SUMMARY and workflow commands in the output.
func TestFileCommands(t *testing.T) {
	t.Parallel()
	o := workflow(t, oneJob(`
defaults: {run: {shell: sh}}
steps:
  - id: out
    run: |
      echo "plain=1" >> "$GITHUB_OUTPUT"
      echo "plain=2" >> "$GITHUB_OUTPUT"
      echo "eq=a=b<<c" >> "$GITHUB_OUTPUT"
      printf 'many<<X Y\n x \nX\nX Y\n' >> "$GITHUB_OUTPUT"
  - env: {MANY: "${{ steps.out.outputs.many }}"}
    run: echo "${{ steps.out.outputs.plain }} ${{ steps.out.outputs.eq }} [$MANY]"
  - run: |
      mkdir one two
      for d in one two; do printf '#!/bin/sh\necho from %s\n' $d > $d/tool; chmod +x $d/tool; echo "$PWD/$d" >> "$GITHUB_PATH"; done
      tool 2>/dev/null || echo not yet
  - run: tool
  - run: |
      echo "### Summary" >> "$GITHUB_STEP_SUMMARY"
      echo "::warning file=a.go,line=3,title=Hm::odd%0Athing"
      echo "::error::broken"
      echo "::notice ::fyi"
      echo "::group::Inside"
      echo "::endgroup::"
      echo "::add-mask::s3cr3t"
      echo "the s3cr3t is out"
  - run: echo "the s3cr3t is out again"
  - {id: bad, run: 'printf "x<<END\nno end\n" >> "$GITHUB_OUTPUT"', continue-on-error: true}
  - run: echo "${{ steps.bad.outcome }}"
`)).run(succeeded)
	log := o.log("a")
	for _, want := range []string{"2 a=b<<c [ x \nX]\n", "not yet\nfrom two\n", "the *** is out\n", "the *** is out again\n", "failure\n"} {
		if !strings.Contains(log, want) {
			t.Errorf("log lacks %q:\n%s", want, log)
		}
	}
	if strings.Contains(strings.ReplaceAll(log, "::add-mask::", ""), "s3cr3t") {
		t.Errorf("the masked value is in the log:\n%s", log)
	}
	var got []string
	for _, a := range o.job("a").GetAnnotations() {
		got = append(got, a.GetLevel()+" "+a.GetFile()+" "+a.GetMessage())
	}
	all := strings.Join(got, "; ")
	for _, want := range []string{"warning a.go odd\nthing", "error  broken", "notice  fyi"} {
		if !strings.Contains(all, want) {
			t.Errorf("annotations lack %q: %s", want, all)
		}
	}
}

// TestShellsAndDirectories: each shell's flags, custom shells, and working directories.
func TestShellsAndDirectories(t *testing.T) {
	t.Parallel()
	o := workflow(t, `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    defaults: {run: {working-directory: sub}}
    steps:
      - {run: mkdir -p sub/deeper, working-directory: .}
      - {id: default, run: 'false | true; echo "${BASH_VERSION:+bash} $PWD"'}
      - {id: bash, shell: bash, run: 'false | true; echo never', continue-on-error: true}
      - {run: 'echo "bash ${{ steps.bash.outcome }}"'}
      - {shell: sh, run: 'echo "sh [${BASH_VERSION:-}] $PWD"', working-directory: sub/deeper}
      - {shell: python, run: "import os; print('python', os.getcwd())", working-directory: /tmp}
      - {shell: 'perl {0}', run: 'print "perl ", 6*7, "\n"'}
      - {shell: 'bash -x {0}', run: 'false; echo custom'}
      - {id: nowhere, run: pwd, working-directory: nope, continue-on-error: true}
      - {id: noshell, run: pwd, shell: 'no-such-shell {0}', continue-on-error: true}
      - {run: 'echo "${{ steps.nowhere.outcome }} ${{ steps.noshell.outcome }}"'}
  container:
    runs-on: ubuntu-latest
    container: {image: 'slipway/runner:12', env: {FROM: container}}
    steps:
      - run: echo "$FROM [${BASH_VERSION:-sh}]"
  small:
    runs-on: busybox
    steps:
      - run: echo "no bash"; false; echo never
        continue-on-error: true
      - {id: asked, shell: bash, run: echo never, continue-on-error: true}
      - run: echo "${{ steps.asked.outcome }}"
`).run(succeeded)
	log := o.log("a")
	for _, want := range []string{
		"bash /github/workspace/sub\n", "bash failure\n", "sh [] /github/workspace/sub/deeper\n", "python /tmp\n", "perl 42\n", "custom\n", "failure failure\n",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("log lacks %q:\n%s", want, log)
		}
	}
	if strings.Contains(log, "never") {
		t.Errorf("pipefail is off under shell: bash:\n%s", log)
	}
	o.wantLog("container", "container [sh]\n")
	o.wantLog("small", "no bash\nfailure\n")
}

// TestTimeouts of a step and of a job: the process tree is gone, later steps with always() run.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	o := workflow(t, `
on: push
defaults: {run: {shell: sh}}
jobs:
  step:
    runs-on: busybox
    steps:
      - {run: 'echo begin; sleep 100', timeout-minutes: 0.01}
      - {run: echo never}
      - {run: 'echo after; ps | grep -c "[s]leep 100"', if: always()}
  job:
    runs-on: busybox
    timeout-minutes: 0.02
    steps:
      - run: echo begin; sleep 100
      - {run: echo after, if: always()}
      - {run: echo cancelled, if: cancelled()}
`).run(failed)
	o.wantStates("step FAILED, job TIMED_OUT")
	o.wantLog("step", "begin\nafter\n0\n")
	if log := o.log("job"); !strings.HasPrefix(log, "begin\nafter\n") {
		t.Errorf("log %q", log)
	}
	for _, id := range []string{"step", "job"} {
		j := o.job(id)
		if took := j.GetEndedMs() - j.GetStartedMs(); took > 20_000 {
			t.Errorf("job %s took %d ms", id, took)
		}
		if f := j.GetFailure(); f == nil || f.GetCode() != "timed-out" {
			t.Errorf("job %s failed as %v", id, f)
		}
	}
}

// TestLeftBehindProcess lives until its job ends, and does not hold up the step.
func TestLeftBehindProcess(t *testing.T) {
	t.Parallel()
	o := workflow(t, oneJob(`
defaults: {run: {shell: sh}}
steps:
  - run: |
      (i=0; while true; do i=$((i + 1)); echo $i > beat.new; mv beat.new beat; sleep 0.05; done) &
      echo started
  - run: |
      until [ -s beat ]; do sleep 0.05; done
      one=$(cat beat); sleep 0.3; two=$(cat beat)
      [ "$one" != "$two" ] && echo it lives
`)).run(succeeded)
	o.wantLog("a", "started\nit lives\n")
}

// TestStepOutputs that are odd: no newline at the end, carriage returns, NUL, bytes that are no UTF-8, none at all.
func TestExactOutput(t *testing.T) {
	t.Parallel()
	o := workflow(t, oneJob(`
defaults: {run: {shell: sh}}
steps:
  - run: printf 'no newline'
  - run: printf 'a\r\nb\0c\377\376\n\n\n'
  - run: "true"
  - run: echo to stderr >&2; echo to stdout
  - run: head -c 300000 /dev/zero | tr '\0' x
`)).run(succeeded)
	want := "no newline" + "a\r\nb\x00c\xff\xfe\n\n\n" + "to stderr\nto stdout\n" + strings.Repeat("x", 300_000)
	if got := o.log("a"); got != want {
		t.Errorf("%d bytes %.100q, want %d", len(got), got, len(want))
	}
	raw := o.must("logs", "--raw", o.run.GetId(), "a")
	if !strings.HasSuffix(raw, want) {
		t.Errorf("slipway logs --raw: %d bytes, want them to end with those %d", len(raw), len(want))
	}
}

// TestOutOfMemory: the step that takes more than its job may have fails and says so.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	o := newProject(t, map[string]string{"ci.yml": oneJob(`
resources: {memory: 64Mi}
defaults: {run: {shell: sh}}
steps:
  - run: head -c 200000000 /dev/zero | tail -c 200000000 >/dev/null
  - {run: echo still here, if: always()}
`)}).run(failed)
	o.wantStates("a FAILED")
	if s := o.job("a").GetSteps()[1]; s.GetConclusion() != corev1.Result_RESULT_FAILURE || !strings.Contains(s.GetFailure().GetMessage(), "memory") {
		t.Errorf("step: %v", s)
	}
	if log := o.log("a"); !strings.HasSuffix(log, "still here\n") {
		t.Errorf("log %q", log)
	}
}
