package main

import (
	"fmt"
	"io"
	"os"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/evaluate"
	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/pipeline/expr"
)

func (a *app) evalCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "eval [--context FILE.json] EXPR",
		Short: "Evaluate an expression of the workflow language; needs no coordinator",
		Long: `Evaluate an expression, written without ${{ and }}, and print its value as JSON. What JSON has no number for is
{"number": "NaN"}, "Infinity" or "-Infinity". Contexts come from a JSON file: {"github": {"ref": "refs/heads/main"}}.

With --batch each line of the standard input is an expression as a JSON string, and each line of the output its answer:
{"value": …, "string": …} or {"error": {"message": …, "column": …}}.

The status functions look at job.status in the contexts, else at the results in needs; with neither, nothing has failed.
hashFiles has no workspace here and is an error. Exit code 2 if the expression, the file or the usage is wrong.`,
		Example: `  slipway eval "contains('Hello', 'ell')"
  slipway eval --context contexts.json "github.event.commits.*.id"`,
		// An expression may begin with a minus, which flags do too.
		DisableFlagParsing: true,
	}
	file := cmd.Flags().String("context", "", "JSON file with the contexts (- is the standard input)")
	batch := cmd.Flags().Bool("batch", false, "answer expressions line by line")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		args, help, err := evalArgs(cmd, args)
		switch {
		case err != nil:
			return exit.With(exit.Invalid, err)
		case help:
			return cmd.Help()
		case *batch && len(args) > 0:
			return exit.Invalidf("--batch reads its expressions from the standard input, and takes none as an argument")
		case !*batch && len(args) != 1:
			return exit.Invalidf("give one expression, in quotes; %d arguments were given", len(args))
		case *batch && *file == "-":
			return exit.Invalidf("--batch and --context - would both read the standard input")
		}
		e, err := a.evaluator(cmd.InOrStdin(), *file)
		if err != nil {
			return err
		}
		if *batch {
			return exit.With(exit.System, e.Batch(cmd.InOrStdin(), a.out))
		}
		v, err := e.Eval(args[0])
		if err != nil {
			return exit.With(exit.Invalid, err)
		}
		_, err = fmt.Fprintln(a.out, expr.ExactJSON(v))
		return exit.With(exit.System, err)
	}
	return cmd
}

// negative is what begins like a flag and is a number.
var negative = regexp.MustCompile(`^-([0-9.]|Infinity|NaN)`)

// evalArgs parses the flags, with an expression such as -1 kept apart from them.
func evalArgs(cmd *cobra.Command, args []string) (rest []string, help bool, err error) {
	flags := cmd.Flags()
	cmd.InheritedFlags() // joins them to flags
	var parsed, operands []string
	for i, arg := range args {
		if arg == "--" {
			operands = append(operands, args[i+1:]...)
			break
		}
		if negative.MatchString(arg) && (i == 0 || args[i-1] != "--context") {
			operands = append(operands, arg)
			continue
		}
		parsed = append(parsed, arg)
	}
	if err := flags.Parse(append(append(parsed, "--"), operands...)); err != nil {
		return nil, false, fmt.Errorf("%w (see `slipway eval --help`; an expression that begins with - goes after --)", err)
	}
	help, err = flags.GetBool("help")
	return flags.Args(), help, err
}

func (a *app) evaluator(in io.Reader, file string) (*evaluate.Evaluator, error) {
	if file == "" {
		return evaluate.New(nil), nil
	}
	var text []byte
	var err error
	if file == "-" {
		text, err = io.ReadAll(in)
	} else {
		text, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, exit.Invalidf("reading the contexts: %w", err)
	}
	contexts, err := expr.ContextsFromJSON(text)
	if err != nil {
		return nil, exit.Invalidf("%s: %w", file, err)
	}
	return evaluate.New(contexts), nil
}
