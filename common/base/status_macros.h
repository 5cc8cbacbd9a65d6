// Early return on errors.
//
//   RETURN_IF_ERROR(file.Flush());
//   ASSIGN_OR_RETURN(std::string text, ReadFile(path));
#ifndef PARAMD_COMMON_BASE_STATUS_MACROS_H_
#define PARAMD_COMMON_BASE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define RETURN_IF_ERROR(expression)                  \
  do {                                               \
    ::absl::Status paramd_status_ = (expression);    \
    if (!paramd_status_.ok()) return paramd_status_; \
  } while (false)

#define ASSIGN_OR_RETURN(declaration, expression) \
  PARAMD_ASSIGN_OR_RETURN_(PARAMD_CONCAT_(paramd_status_or_, __LINE__), declaration, expression)

#define PARAMD_ASSIGN_OR_RETURN_(temporary, declaration, expression) \
  auto temporary = (expression);                                     \
  if (!temporary.ok()) return std::move(temporary).status();         \
  declaration = std::move(temporary).value()

#define PARAMD_CONCAT_(a, b) PARAMD_CONCAT_INNER_(a, b)
#define PARAMD_CONCAT_INNER_(a, b) a##b

#endif  // PARAMD_COMMON_BASE_STATUS_MACROS_H_
