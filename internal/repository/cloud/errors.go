// Package cloud classifies the errors of the clients of S3, Google's and Azure's storages, and makes these clients
// connect by the rules for addresses. It is safe for concurrent use.
package cloud

import (
	"errors"
	"net/http"
	"regexp"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/storage"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/minio/minio-go/v7"
	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"

	"github.com/cairn-backup/cairn/internal/egress"
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

// Classify attaches the kind to an error of these clients, with a short text that does not change between attempts and
// holds nothing of an answer but its status and a known code. It returns nil for any other error.
func Classify(op string, err error) error {
	var google *googleapi.Error
	var azure *azcore.ResponseError
	var s3 minio.ErrorResponse
	var refused *egress.RefusedError
	switch {
	case errors.As(err, &refused):
		return &repository.Error{Op: op, Kind: repository.ErrUnreachable, Err: refused}
	case errors.As(err, &s3):
		return ofS3(op, s3, err)
	case errors.As(err, new(*auth.Error)), errors.As(err, new(*oauth2.RetrieveError)):
		return &repository.Error{
			Op: op, Kind: repository.ErrBadCredentials,
			Err: errors.New("the key of the service account was not accepted where it signs in"),
		}
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
			Err: said(google.Code, http.StatusText(google.Code), err),
		}
	case errors.As(err, &azure):
		kind, ok := byCode[azure.ErrorCode]
		if !ok {
			kind = byStatus[azure.StatusCode]
		}
		return &repository.Error{
			Op: op, Kind: kind,
			Err: said(azure.StatusCode, azureCode(azure), err),
		}
	}
	return nil
}

// azureWord is the form of Azure's codes, of which there are hundreds.
var azureWord = regexp.MustCompile(`^[A-Z][A-Za-z]{2,60}$`)

func azureCode(answer *azcore.ResponseError) string {
	if azureWord.MatchString(answer.ErrorCode) {
		return answer.ErrorCode
	}
	return http.StatusText(answer.StatusCode)
}
