package check

import "github.com/slipway-ci/slipway/pipeline/expr"

// Which contexts and functions exist where: GitHub's workflow schema (workflow-v1.0.json of actions/runner and of the
// npm package @actions/workflow-parser).
var (
	runContexts       = []string{"github", "inputs", "vars"}
	needsContexts     = append(runContexts[:3:3], "needs")
	strategyContexts  = append(needsContexts[:4:4], "strategy", "matrix")
	stepContexts      = append(strategyContexts[:6:6], "secrets", "steps", "job", "runner", "env")
	conditionContexts = append(strategyContexts[:6:6], "steps", "job", "runner", "env")
)

var hashFiles = expr.Arity{Min: 1, Max: expr.MaxArity}

func rules(where string, contexts []string, functions map[string]expr.Arity) expr.Rules {
	return expr.Rules{Where: where, Contexts: contexts, Functions: functions}
}

var (
	runNameRules     = rules("`run-name`", runContexts, nil)
	workflowEnvRules = rules("the workflow's `env`", append(runContexts[:3:3], "secrets"), nil)
	groupRules       = rules("the workflow's `concurrency`", runContexts, nil)
	workflowDefaults = rules("the workflow's `defaults`", runContexts, nil)

	jobIfRules = rules("a job's `if`", needsContexts, map[string]expr.Arity{
		"always": {}, "cancelled": {}, "success": {Max: -1}, "failure": {Max: -1},
	})
	strategyRules       = rules("`strategy`", needsContexts, nil)
	jobRules            = rules("a job's own keys", strategyContexts, nil)
	jobEnvRules         = rules("a job's `env`", append(strategyContexts[:6:6], "secrets"), nil)
	jobDefaults         = rules("a job's `defaults`", append(strategyContexts[:6:6], "env"), nil)
	containerEnv        = rules("a container's `env`", stepContexts, nil)
	credentialsRules    = rules("`credentials`", append(runContexts[:3:3], "needs", "secrets", "env", "strategy", "matrix"), nil)
	environmentURLRules = rules("`environment.url`", stepContexts, nil)
	callDefaultRules    = rules("the default of an input", runContexts, nil)
	callSecretRules     = rules("`secrets` of a call", append(strategyContexts[:6:6], "secrets"), nil)
	callOutputRules     = rules("an output of `workflow_call`", append(runContexts[:3:3], "jobs"), nil)
	cacheRules          = rules("`cache`", strategyContexts, map[string]expr.Arity{"hashFiles": hashFiles})
	stepImageRules      = rules("a step's `image`", strategyContexts, nil)
	outputRules         = rules("a job's `outputs`", stepContexts, nil)

	stepRules   = rules("a step", stepContexts, map[string]expr.Arity{"hashFiles": hashFiles})
	stepIfRules = rules("a step's `if`", conditionContexts, map[string]expr.Arity{
		"always": {}, "cancelled": {}, "success": {}, "failure": {}, "hashFiles": hashFiles,
	})
)
