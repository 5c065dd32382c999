package api

import (
	"cmp"
	"context"

	"github.com/slipway-ci/slipway/coordinator/identity"
	"github.com/slipway-ci/slipway/coordinator/secrets"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	"github.com/slipway-ci/slipway/internal/tlsutil"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// secretServer implements apiv1.SecretServiceServer, variableServer apiv1.VariableServiceServer.
type (
	secretServer struct {
		apiv1.UnimplementedSecretServiceServer
		Deps
	}
	variableServer struct {
		apiv1.UnimplementedVariableServiceServer
		Deps
	}
)

// settingChange is what the requests that change a secret or a variable have in common.
type settingChange interface {
	GetRequestId() string
	GetProject() string
	GetOrganisation() bool
	GetName() string
}

// changeOf checks a request, and that its caller may make it.
func changeOf(ctx context.Context, req settingChange) (secrets.Change, error) {
	p := identity.FromContext(ctx)
	c := secrets.Change{RequestID: req.GetRequestId(), Name: req.GetName(), By: p.Name}
	if err := checkRequestID(c.RequestID); err != nil {
		return c, err
	}
	if req.GetOrganisation() {
		switch {
		case req.GetProject() != "":
			return c, rpcerr.New(rpcerr.InvalidRequest, "either the organisation's, or project %q's", req.GetProject())
		case !p.In(identity.Admins):
			return c, rpcerr.New(rpcerr.PermissionDenied, "the organisation's secrets and variables are for members of group %s to change; %s is none", identity.Admins, p)
		}
		c.Scope = secrets.Organisation
		return c, nil
	}
	var err error
	c.Scope, err = projectOf(req.GetProject())
	return c, err
}

func projectOf(project string) (string, error) {
	project = cmp.Or(project, defaultProject)
	if err := tlsutil.CheckName("project", project); err != nil {
		return "", rpcerr.New(rpcerr.InvalidRequest, "%v", err)
	}
	return project, nil
}

func secretMessage(e secrets.Entry) *apiv1.Secret {
	return &apiv1.Secret{Name: e.Name, Project: e.Scope, Version: e.Version, UpdatedMs: e.UpdatedMS, UpdatedBy: e.UpdatedBy}
}

func variableMessage(e secrets.Entry) *apiv1.Variable {
	return &apiv1.Variable{Name: e.Name, Project: e.Scope, Value: e.Value, Version: e.Version, UpdatedMs: e.UpdatedMS, UpdatedBy: e.UpdatedBy}
}

func (s *secretServer) SetSecret(ctx context.Context, req *apiv1.SetSecretRequest) (*apiv1.SetSecretResponse, error) {
	c, err := changeOf(ctx, req)
	if err != nil {
		return nil, err
	}
	e, err := s.Secrets.Set(secrets.Secrets, c, req.GetValue())
	if err != nil {
		return nil, s.internal("keeping a secret", err)
	}
	return &apiv1.SetSecretResponse{Secret: secretMessage(e)}, nil
}

func (s *secretServer) ListSecrets(_ context.Context, req *apiv1.ListSecretsRequest) (*apiv1.ListSecretsResponse, error) {
	project, err := projectOf(req.GetProject())
	if err != nil {
		return nil, err
	}
	all, err := s.Secrets.List(secrets.Secrets, project)
	if err != nil {
		return nil, s.internal("listing secrets", err)
	}
	out := &apiv1.ListSecretsResponse{}
	for _, e := range all {
		out.Secrets = append(out.Secrets, secretMessage(e))
	}
	return out, nil
}

func (s *secretServer) RemoveSecret(ctx context.Context, req *apiv1.RemoveSecretRequest) (*apiv1.RemoveSecretResponse, error) {
	c, err := changeOf(ctx, req)
	if err != nil {
		return nil, err
	}
	if err := s.Secrets.Remove(secrets.Secrets, c); err != nil {
		return nil, s.internal("removing a secret", err)
	}
	return &apiv1.RemoveSecretResponse{}, nil
}

func (s *variableServer) SetVariable(ctx context.Context, req *apiv1.SetVariableRequest) (*apiv1.SetVariableResponse, error) {
	c, err := changeOf(ctx, req)
	if err != nil {
		return nil, err
	}
	e, err := s.Secrets.Set(secrets.Variables, c, req.GetValue())
	if err != nil {
		return nil, s.internal("keeping a variable", err)
	}
	return &apiv1.SetVariableResponse{Variable: variableMessage(e)}, nil
}

func (s *variableServer) ListVariables(_ context.Context, req *apiv1.ListVariablesRequest) (*apiv1.ListVariablesResponse, error) {
	project, err := projectOf(req.GetProject())
	if err != nil {
		return nil, err
	}
	all, err := s.Secrets.List(secrets.Variables, project)
	if err != nil {
		return nil, s.internal("listing variables", err)
	}
	out := &apiv1.ListVariablesResponse{}
	for _, e := range all {
		out.Variables = append(out.Variables, variableMessage(e))
	}
	return out, nil
}

func (s *variableServer) RemoveVariable(ctx context.Context, req *apiv1.RemoveVariableRequest) (*apiv1.RemoveVariableResponse, error) {
	c, err := changeOf(ctx, req)
	if err != nil {
		return nil, err
	}
	if err := s.Secrets.Remove(secrets.Variables, c); err != nil {
		return nil, s.internal("removing a variable", err)
	}
	return &apiv1.RemoveVariableResponse{}, nil
}
