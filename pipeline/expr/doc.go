// Package expr reads and evaluates the expressions of GitHub Actions workflows: what stands between ${{ and }}.
//
// The reference for what an expression means is GitHub's own evaluator (actions/runner, src/Sdk/Expressions). The parts
// that surprise: equality is loose and ignores case, && and || return an operand, a missing property is null, and an
// object's properties keep their order.
//
// Parse checks form only. Which names an expression may use depends on where it stands: see Expr.Check. Everything is
// bounded: source length, depth, and the bytes that an evaluation may make.
package expr
