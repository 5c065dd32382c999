package client

import (
	"context"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// Setting names a secret or a variable.
type Setting struct {
	// Project; "" is the default one.
	Project string
	// Organisation: all projects see it. Project is empty then.
	Organisation bool
	Name         string
}

// SetSecret keeps a new version of a secret.
func (c *Client) SetSecret(ctx context.Context, s Setting, value string) (*apiv1.Secret, error) {
	r := &apiv1.SetSecretRequest{RequestId: c.newID(), Project: s.Project, Organisation: s.Organisation, Name: s.Name, Value: value}
	var out *apiv1.SetSecretResponse
	err := c.retry(ctx, "setting the secret "+s.Name, func(ctx context.Context) (err error) {
		out, err = c.secrets.SetSecret(ctx, r)
		return err
	})
	return out.GetSecret(), err
}

// Secrets lists what a project sees: the organisation's first.
func (c *Client) Secrets(ctx context.Context, project string) ([]*apiv1.Secret, error) {
	var out *apiv1.ListSecretsResponse
	err := c.retry(ctx, "listing secrets", func(ctx context.Context) (err error) {
		out, err = c.secrets.ListSecrets(ctx, &apiv1.ListSecretsRequest{Project: project})
		return err
	})
	return out.GetSecrets(), err
}

// RemoveSecret keeps a secret from every attempt that begins from now on.
func (c *Client) RemoveSecret(ctx context.Context, s Setting) error {
	r := &apiv1.RemoveSecretRequest{RequestId: c.newID(), Project: s.Project, Organisation: s.Organisation, Name: s.Name}
	return c.retry(ctx, "removing the secret "+s.Name, func(ctx context.Context) error {
		_, err := c.secrets.RemoveSecret(ctx, r)
		return err
	})
}

// SetVariable keeps a new value of a variable.
func (c *Client) SetVariable(ctx context.Context, s Setting, value string) (*apiv1.Variable, error) {
	r := &apiv1.SetVariableRequest{RequestId: c.newID(), Project: s.Project, Organisation: s.Organisation, Name: s.Name, Value: value}
	var out *apiv1.SetVariableResponse
	err := c.retry(ctx, "setting the variable "+s.Name, func(ctx context.Context) (err error) {
		out, err = c.variables.SetVariable(ctx, r)
		return err
	})
	return out.GetVariable(), err
}

// Variables lists what a project sees: the organisation's first.
func (c *Client) Variables(ctx context.Context, project string) ([]*apiv1.Variable, error) {
	var out *apiv1.ListVariablesResponse
	err := c.retry(ctx, "listing variables", func(ctx context.Context) (err error) {
		out, err = c.variables.ListVariables(ctx, &apiv1.ListVariablesRequest{Project: project})
		return err
	})
	return out.GetVariables(), err
}

// RemoveVariable forgets a variable.
func (c *Client) RemoveVariable(ctx context.Context, s Setting) error {
	r := &apiv1.RemoveVariableRequest{RequestId: c.newID(), Project: s.Project, Organisation: s.Organisation, Name: s.Name}
	return c.retry(ctx, "removing the variable "+s.Name, func(ctx context.Context) error {
		_, err := c.variables.RemoveVariable(ctx, r)
		return err
	})
}
