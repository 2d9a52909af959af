// Package cloud classifies the errors of the clients of Google's and Azure's storages. It is stateless and safe for
// concurrent use.
package cloud

import (
	"errors"
	"fmt"
	"net/http"

	"cloud.google.com/go/storage"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"google.golang.org/api/googleapi"

	"github.com/cairn-backup/cairn/internal/repository"
)

// byStatus maps the HTTP statuses that mean the same to both.
var byStatus = map[int]error{
	http.StatusUnauthorized:        repository.ErrBadCredentials,
	http.StatusForbidden:           repository.ErrAccessDenied,
	http.StatusRequestTimeout:      repository.ErrUnreachable,
	http.StatusTooManyRequests:     repository.ErrUnreachable,
	http.StatusInternalServerError: repository.ErrUnreachable,
	http.StatusBadGateway:          repository.ErrUnreachable,
	http.StatusServiceUnavailable:  repository.ErrUnreachable,
	http.StatusGatewayTimeout:      repository.ErrUnreachable,
}

// byCode maps the codes of Azure that are more precise than their status.
var byCode = map[string]error{
	string(bloberror.ContainerNotFound):         repository.ErrNoBucket,
	string(bloberror.AuthenticationFailed):      repository.ErrBadCredentials,
	string(bloberror.InvalidAuthenticationInfo): repository.ErrBadCredentials,
	string(bloberror.AccountIsDisabled):         repository.ErrAccessDenied,
	string(bloberror.BlobArchived):              repository.ErrArchived,
	string(bloberror.BlobBeingRehydrated):       repository.ErrArchived,
}

// Classify attaches the kind to an error of these clients, with a short text that does not change between attempts. It
// returns nil for any other error.
func Classify(op string, err error) error {
	var google *googleapi.Error
	var azure *azcore.ResponseError
	switch {
	case errors.Is(err, storage.ErrBucketNotExist):
		return &repository.Error{Op: op, Kind: repository.ErrNoBucket, Err: storage.ErrBucketNotExist}
	case errors.As(err, new(*azidentity.AuthenticationFailedError)):
		return &repository.Error{
			Op: op, Kind: repository.ErrBadCredentials,
			Err: errors.New("the storage does not know the identity of the pod"),
		}
	case errors.As(err, &google):
		return &repository.Error{
			Op: op, Kind: byStatus[google.Code],
			Err: fmt.Errorf("the storage said %d %s", google.Code, google.Message),
		}
	case errors.As(err, &azure):
		kind, ok := byCode[azure.ErrorCode]
		if !ok {
			kind = byStatus[azure.StatusCode]
		}
		return &repository.Error{
			Op: op, Kind: kind,
			Err: fmt.Errorf("the storage said %d %s", azure.StatusCode, azure.ErrorCode),
		}
	}
	return nil
}
