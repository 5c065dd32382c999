package syntax

// Pos is a place in the file, both from 1, Column in characters. The zero Pos is no place.
type Pos struct{ Line, Column int }

// ScalarKind is the type that YAML 1.2 gives a scalar.
type ScalarKind uint8

// Scalar kinds.
const (
	StringScalar ScalarKind = iota
	NullScalar
	BoolScalar
	NumberScalar
)

// Scalar is one text of the file, which may hold expressions.
type Scalar struct {
	Pos  Pos
	Text string
	Kind ScalarKind
	// Style is how the source writes it, for finding places inside; see File.Place.
	style style
	// comment behind it on the same line.
	Comment string
}

// Pair is one entry of a mapping from names to texts.
type Pair struct{ Key, Value *Scalar }

// Map is a mapping from names to texts, in order.
type Map struct {
	Pos   Pos
	Pairs []Pair
}

// Data is a value of any shape, as in a matrix.
type Data struct {
	Pos Pos
	// Exactly one of Scalar, List and Fields says what it is; all nil is an empty mapping.
	Scalar *Scalar
	List   []*Data
	IsList bool
	Fields []Field
}

// Field is one entry of a mapping in Data.
type Field struct {
	Key   *Scalar
	Value *Data
}

// File is one workflow file.
type File struct {
	Path string
	// GitHub: the file lives in .github/, so Slipway's own keys are not allowed in it.
	GitHub      bool
	Name        *Scalar
	RunName     *Scalar
	On          []*Event
	Env         *Map
	Defaults    *Defaults
	Concurrency *Concurrency
	Permissions *Permissions
	Jobs        []*Job
	source      *source
	cursor      cursor
}

// Event is one event of `on:`.
type Event struct {
	Name                                                   *Scalar
	Types, Branches, BranchesIgnore, Tags, TagsIgnore      []*Scalar
	Paths, PathsIgnore                                     []*Scalar
	HasBranches, HasBranchesIgnore, HasTags, HasTagsIgnore bool
	HasTypes, HasPaths, HasPathsIgnore                     bool
	Cron                                                   []*Scalar
	Inputs                                                 []*Input
	// Of workflow_call.
	Secrets []*CallSecret
	Outputs []*CallOutput
}

// CallSecret is a secret that a reusable workflow declares.
type CallSecret struct {
	Name     *Scalar
	Required bool
}

// CallOutput is an output of a reusable workflow.
type CallOutput struct{ Name, Value *Scalar }

// Input is one input of workflow_dispatch or workflow_call.
type Input struct {
	Name                       *Scalar
	Type, Default, Description *Scalar
	Required                   bool
	Options                    []*Scalar
}

// Defaults is `defaults.run`.
type Defaults struct{ Shell, WorkingDirectory *Scalar }

// Concurrency is a concurrency group.
type Concurrency struct {
	Pos                            Pos
	Group, CancelInProgress, Queue *Scalar
}

// Permissions is `permissions:`, checked and otherwise without effect.
type Permissions struct {
	Pos Pos
	// All is read-all or write-all.
	All    *Scalar
	Scopes []Pair
}

// Job is one entry of `jobs:`.
type Job struct {
	ID              *Scalar
	Name, If        *Scalar
	Needs           []*Scalar
	RunsOn          []*Scalar
	Strategy        *Strategy
	Container       *Container
	Services        []*Service
	Env             *Map
	Outputs         *Map
	Defaults        *Defaults
	TimeoutMinutes  *Scalar
	ContinueOnError *Scalar
	Concurrency     *Concurrency
	Permissions     *Permissions
	Steps           []*Step
	HasSteps        bool
	// RunsOnGroup is `runs-on.group`.
	RunsOnGroup *Scalar
	// Uses calls a reusable workflow, in place of steps.
	Uses           *Scalar
	With           *Map
	Secrets        *Map
	InheritSecrets bool
	Environment    *Environment
	// Slipway's own.
	Pool      []*Scalar
	Resources *Resources
	Egress    *Scalar
	Retry     *Retry
	Caches    []*Cache
	Rollout   *Data
}

// Environment is `environment:`, a deploy target.
type Environment struct {
	Pos       Pos
	Name, URL *Scalar
}

// Cache is one volume of `cache:`.
type Cache struct {
	Pos               Pos
	Path, RestoreKeys []*Scalar
	Key, Scope        *Scalar
}

// Reports is `reports:` of a step: files to collect and show.
type Reports struct {
	Pos                          Pos
	JUnit, SARIF, Coverage, SBOM []*Scalar
}

// Strategy is `strategy:`.
type Strategy struct {
	Pos                   Pos
	Matrix                *Data
	FailFast, MaxParallel *Scalar
}

// Container is a job's container or a service's.
type Container struct {
	Pos                Pos
	Image              *Scalar
	Env                *Map
	Ports, Volumes     []*Scalar
	Options            *Scalar
	Username, Password *Scalar
}

// Service is one entry of `services:`.
type Service struct {
	Name      *Scalar
	Container *Container
}

// Resources is `resources:`.
type Resources struct{ CPU, Memory, PIDs *Scalar }

// Retry is `retry:`.
type Retry struct {
	Attempts, Backoff *Scalar
	On                []*Scalar
}

// Step is one item of `steps:`.
type Step struct {
	Pos                             Pos
	ID, Name, If                    *Scalar
	Run, Uses                       *Scalar
	Shell, WorkingDirectory         *Scalar
	With, Env                       *Map
	ContinueOnError, TimeoutMinutes *Scalar
	// Slipway's own.
	Image     *Scalar
	Resources *Resources
	Retry     *Retry
	Reports   *Reports
}
