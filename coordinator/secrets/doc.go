// Package secrets keeps the values that workflows read as `secrets` and `vars`, by scope: the organisation's and each project's, which go
// before the organisation's of the same name.
//
// They lie in files of the coordinator's data directory, never in the store of runs:
//
//	secrets/check              sealed; only the right key opens it
//	secrets/organisation/NAME  one file for each name: its versions
//	secrets/project-P/NAME
//	variables/…                the same, in the clear
//
// A secret's value is sealed with age (https://age-encryption.org/v1) for the operator's key. Every write gets a revision, greater than all
// before it, so that an attempt can be given again exactly what it had, whatever was set since: versions that were replaced or removed are kept,
// sealed, for KeepFor.
package secrets
