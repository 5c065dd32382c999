package identity

import (
	"strings"

	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// need is what a method wants of its caller.
type need int

const (
	// needRefuse is what a method has that no rule names.
	needRefuse need = iota
	needNothing
	needUser
	needAdmin
	needAgent
)

// rule is one method's, or one service's.
type rule struct {
	need need
	// audit: the call changes something that people answer for.
	audit bool
}

// services are the rules of all methods that have none of their own.
var services = map[string]rule{
	apiv1.RunService_ServiceDesc.ServiceName:      {need: needUser},
	apiv1.LogService_ServiceDesc.ServiceName:      {need: needUser},
	apiv1.BlobService_ServiceDesc.ServiceName:     {need: needUser},
	apiv1.ArtifactService_ServiceDesc.ServiceName: {need: needUser},
	apiv1.AgentService_ServiceDesc.ServiceName:    {need: needUser},
	apiv1.DebugService_ServiceDesc.ServiceName:    {need: needUser, audit: true},
	apiv1.TokenService_ServiceDesc.ServiceName:    {need: needAdmin, audit: true},
	apiv1.WebService_ServiceDesc.ServiceName:      {need: needUser, audit: true},
	apiv1.SecretService_ServiceDesc.ServiceName:   {need: needUser, audit: true},
	apiv1.VariableService_ServiceDesc.ServiceName: {need: needUser, audit: true},
	fleetv1.JoinService_ServiceDesc.ServiceName:   {need: needNothing, audit: true},
	fleetv1.FleetService_ServiceDesc.ServiceName:  {need: needAgent},
	"grpc.health.v1.Health":                       {need: needNothing},
}

// methods are the rules that differ from their service's.
var methods = map[string]rule{
	apiv1.RunService_SubmitRun_FullMethodName:         {need: needUser, audit: true},
	apiv1.RunService_CancelRun_FullMethodName:         {need: needUser, audit: true},
	apiv1.RunService_RerunRun_FullMethodName:          {need: needUser, audit: true},
	apiv1.BlobService_UploadBlob_FullMethodName:       {need: needUser, audit: true},
	apiv1.AgentService_CreateJoinToken_FullMethodName: {need: needAdmin, audit: true},
	apiv1.AgentService_DrainAgent_FullMethodName:      {need: needAdmin, audit: true},
	apiv1.AgentService_ResumeAgent_FullMethodName:     {need: needAdmin, audit: true},
	apiv1.AgentService_RemoveAgent_FullMethodName:     {need: needAdmin, audit: true},
	fleetv1.FleetService_Renew_FullMethodName:         {need: needAgent, audit: true},
	fleetv1.FleetService_GetSecrets_FullMethodName:    {need: needAgent, audit: true},
}

// ruleOf returns the rule of "/package.Service/Method".
func ruleOf(fullMethod string) rule {
	if r, ok := methods[fullMethod]; ok {
		return r
	}
	service, _, _ := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	return services[service]
}

// allows says why a principal may not call a method that has this rule.
func (r rule) allows(p Principal, method string) error {
	switch r.need {
	case needNothing:
		return nil
	case needUser:
		if p.Kind == User {
			return nil
		}
	case needAdmin:
		if p.Kind == User && p.In(Admins) {
			return nil
		}
		return rpcerr.New(rpcerr.PermissionDenied, "%s needs a member of group %s; %s is none", method, Admins, p)
	case needAgent:
		if p.Kind == Agent {
			return nil
		}
	case needRefuse:
	}
	return rpcerr.New(rpcerr.PermissionDenied, "%s may not call %s", p, method)
}
