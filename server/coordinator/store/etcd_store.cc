#include "server/coordinator/store/etcd_store.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "server/coordinator/store/etcd_transaction.h"

namespace paramd {
namespace {

using coordinator::JobRecord;
using etcdserverpb::RangeRequest;
using etcdserverpb::RangeResponse;
using etcdserverpb::TxnRequest;
using etcdserverpb::TxnResponse;

constexpr char kSchema[] = "1";
// etcd's --max-request-bytes is 1.5 MiB by default; the rest is for what etcd puts around a request.
constexpr size_t kMaxRequestBytes = 1536 * 1024 - 16 * 1024;
constexpr int kJobsPerRead = 16;  // Of up to 1.5 MiB each: within the client's limit for one answer.
constexpr int kEventsPerRead = 500;
constexpr absl::Duration kRetryPause = absl::Milliseconds(50);
// How long an operation is tried at most: an etcd that renews leases and stores nothing must not stop the engine, which
// waits for its store, for ever.
constexpr absl::Duration kPatience = absl::Seconds(5);

std::string Number(uint64_t value) { return absl::StrFormat("%020d", value); }

absl::Status Corrupt(const std::string& message) {
  return MakeError(absl::StatusCode::kDataLoss, "STORE_CORRUPT", message);
}

template <typename Message>
absl::StatusOr<Message> Parse(const mvccpb::KeyValue& kv) {
  Message message;
  if (!message.ParseFromString(kv.value())) return Corrupt(absl::StrCat("the value of ", kv.key(), " is damaged"));
  return message;
}

void RequireTerm(const Leadership& leadership, TxnRequest& txn) {
  etcdserverpb::Compare& compare = *txn.add_compare();
  compare.set_target(etcdserverpb::Compare::CREATE);
  compare.set_key(leadership.key());
  compare.set_create_revision(leadership.term());
}

class EtcdStore final : public Store {
 public:
  EtcdStore(EtcdClient& etcd, Leadership& leadership, const std::string& prefix)
      : etcd_(etcd), leadership_(leadership), prefix_(prefix) {}

  absl::Status Open();

  absl::Status Apply(const StoreBatch& batch) override;
  absl::StatusOr<JobRecord> GetJob(const std::string& job_id) override;
  absl::StatusOr<JobRecord> GetJobByRequestId(const std::string& request_id) override;
  absl::StatusOr<bool> JobIdTaken(const std::string& job_id) override;
  absl::StatusOr<std::vector<JobRecord>> ListJobs(const JobQuery& query) override;
  absl::StatusOr<std::map<v1::JobState, int64_t>> CountJobs() override;
  absl::StatusOr<uint64_t> LastOrdinal() override;
  absl::StatusOr<std::vector<v1::JobEvent>> Events(const std::string& job_id, uint64_t after, int limit) override;

 private:
  // What is known of a job without reading it.
  struct Entry {
    std::string job_id;
    std::string request_id;
    v1::JobState state = v1::JOB_STATE_UNSPECIFIED;
    int64_t revision = 0;  // Of the last modification.
  };
  // What a batch does to the entries: null is deleted.
  using Changes = std::map<uint64_t, std::unique_ptr<Entry>>;

  std::string JobKey(uint64_t ordinal) const { return absl::StrCat(prefix_, "jobs/", Number(ordinal)); }
  std::string IdKey(const std::string& job_id) const { return absl::StrCat(prefix_, "ids/", job_id); }
  std::string RequestKey(const std::string& id) const { return absl::StrCat(prefix_, "requests/", id); }
  std::string EventsPrefix(const std::string& job_id) const { return absl::StrCat(prefix_, "events/", job_id, "/"); }
  std::string EventKey(const std::string& job_id, uint64_t sequence) const {
    return absl::StrCat(EventsPrefix(job_id), Number(sequence));
  }
  std::string WriterKey() const { return absl::StrCat(prefix_, "writer"); }

  absl::Status CheckLead() const;
  absl::StatusOr<RangeResponse> Range(const RangeRequest& request);
  absl::StatusOr<TxnResponse> Read(const TxnRequest& request);
  // Repeats `attempt` while etcd does not answer and the leadership lasts, for kPatience.
  template <typename Response, typename Attempt>
  absl::StatusOr<Response> Persist(const Attempt& attempt);
  absl::Status ClaimPrefix();
  absl::Status ReadIndex();
  absl::Status ReadIndexPage(RangeRequest& request, bool& more);

  absl::Status PutJob(const JobRecord& record, EtcdTransaction& txn, Changes& changes);
  void AddEvents(const StoreBatch& batch, EtcdTransaction& txn);
  void DeleteJob(const std::string& job_id, EtcdTransaction& txn, Changes& changes);
  const Entry* Find(uint64_t ordinal, const Changes& changes) const;
  // The revision at which the transaction was applied, now or by an earlier attempt.
  absl::StatusOr<int64_t> Commit(TxnRequest txn);
  absl::StatusOr<int64_t> Refused(const TxnResponse& answer, const std::string& writer);
  void Remember(Changes changes, int64_t revision);

  EtcdClient& etcd_;
  Leadership& leadership_;
  const std::string prefix_;
  std::map<uint64_t, Entry> jobs_;  // By ordinal.
  absl::flat_hash_map<std::string, uint64_t> by_id_;
  absl::flat_hash_map<std::string, uint64_t> by_request_;
  uint64_t last_batch_ = 0;
  int64_t writer_revision_ = 0;
};

// ------------------------------------------------------------------------------------------------ reading

absl::Status EtcdStore::CheckLead() const {
  if (leadership_.valid()) return absl::OkStatus();
  const absl::Status lost = leadership_.lost();
  return lost.ok() ? NotLeaderError("this coordinator does not lead any more", "") : lost;
}

template <typename Response, typename Attempt>
absl::StatusOr<Response> EtcdStore::Persist(const Attempt& attempt) {
  const absl::Time end = absl::Now() + kPatience;
  while (true) {
    RETURN_IF_ERROR(CheckLead());
    absl::StatusOr<Response> response = attempt();
    if (response.ok() || !absl::IsUnavailable(response.status())) {
      RETURN_IF_ERROR(CheckLead());  // What was read may be old by now.
      return response;
    }
    if (leadership_.remaining() <= kRetryPause || absl::Now() >= end) return response;
    absl::SleepFor(kRetryPause);
  }
}

absl::StatusOr<RangeResponse> EtcdStore::Range(const RangeRequest& request) {
  return Persist<RangeResponse>([&] { return etcd_.Range(request); });
}

absl::StatusOr<TxnResponse> EtcdStore::Read(const TxnRequest& request) {
  return Persist<TxnResponse>([&] { return etcd_.Txn(request); });
}

absl::Status EtcdStore::Open() {
  RETURN_IF_ERROR(ClaimPrefix());
  return ReadIndex();
}

// From here on no batch of an earlier leader is applied: their `writer` has another revision.
absl::Status EtcdStore::ClaimPrefix() {
  RangeRequest look;
  look.set_key(absl::StrCat(prefix_, "schema"));
  ASSIGN_OR_RETURN(const RangeResponse schema, Range(look));
  if (schema.kvs_size() > 0 && schema.kvs(0).value() != kSchema) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "STORE_VERSION",
                     absl::StrCat("the keys under ", prefix_, " have schema version ", schema.kvs(0).value(),
                                  "; this coordinator reads version ", kSchema));
  }
  look.set_key(WriterKey());
  ASSIGN_OR_RETURN(const RangeResponse writer, Range(look));
  writer_revision_ = writer.kvs_size() > 0 ? writer.kvs(0).mod_revision() : 0;
  EtcdTransaction txn;
  txn.Put(absl::StrCat(prefix_, "schema"), kSchema);
  ASSIGN_OR_RETURN(writer_revision_, Commit(txn.Build()));
  return absl::OkStatus();
}

absl::Status EtcdStore::ReadIndex() {
  RangeRequest request;
  request.set_key(absl::StrCat(prefix_, "jobs/"));
  request.set_range_end(EtcdPrefixEnd(request.key()));
  request.set_limit(kJobsPerRead);
  bool more = true;
  while (more) RETURN_IF_ERROR(ReadIndexPage(request, more));
  return absl::OkStatus();
}

absl::Status EtcdStore::ReadIndexPage(RangeRequest& request, bool& more) {
  ASSIGN_OR_RETURN(const RangeResponse page, Range(request));
  more = page.more() && page.kvs_size() > 0;
  for (const mvccpb::KeyValue& kv : page.kvs()) {
    ASSIGN_OR_RETURN(const JobRecord record, Parse<JobRecord>(kv));
    if (kv.key() != JobKey(record.ordinal())) return Corrupt(absl::StrCat(kv.key(), " holds another job"));
    const v1::Job& job = record.job();
    jobs_[record.ordinal()] = {job.job_id(), job.request_id(), job.state(), kv.mod_revision()};
    by_id_[job.job_id()] = record.ordinal();
    if (!job.request_id().empty()) by_request_[job.request_id()] = record.ordinal();
  }
  if (more) request.set_key(page.kvs(page.kvs_size() - 1).key() + '\0');
  return absl::OkStatus();
}

absl::StatusOr<JobRecord> EtcdStore::GetJob(const std::string& job_id) {
  RETURN_IF_ERROR(CheckLead());
  const auto found = by_id_.find(job_id);
  if (found == by_id_.end()) return absl::NotFoundError(absl::StrCat("no job ", job_id));
  RangeRequest request;
  request.set_key(JobKey(found->second));
  ASSIGN_OR_RETURN(const RangeResponse answer, Range(request));
  if (answer.kvs_size() == 0) return Corrupt(absl::StrCat(request.key(), " is gone"));
  return Parse<JobRecord>(answer.kvs(0));
}

absl::StatusOr<JobRecord> EtcdStore::GetJobByRequestId(const std::string& request_id) {
  RETURN_IF_ERROR(CheckLead());
  const auto found = by_request_.find(request_id);
  if (found == by_request_.end()) return absl::NotFoundError(absl::StrCat("no job of request ", request_id));
  return GetJob(jobs_.at(found->second).job_id);
}

absl::StatusOr<bool> EtcdStore::JobIdTaken(const std::string& job_id) {
  RangeRequest request;
  request.set_key(IdKey(job_id));
  request.set_count_only(true);
  ASSIGN_OR_RETURN(const RangeResponse answer, Range(request));
  return answer.count() > 0;
}

absl::StatusOr<std::vector<JobRecord>> EtcdStore::ListJobs(const JobQuery& query) {
  RETURN_IF_ERROR(CheckLead());
  std::vector<uint64_t> wanted;
  for (auto job = std::make_reverse_iterator(jobs_.lower_bound(query.below_ordinal)); job != jobs_.rend(); ++job) {
    if (static_cast<int>(wanted.size()) >= query.limit) break;
    const bool match = query.states.empty() ||
                       std::find(query.states.begin(), query.states.end(), job->second.state) != query.states.end();
    if (match) wanted.push_back(job->first);
  }
  std::vector<JobRecord> records;
  for (size_t begin = 0; begin < wanted.size(); begin += kJobsPerRead) {
    TxnRequest read;
    for (size_t i = begin; i < std::min(begin + kJobsPerRead, wanted.size()); ++i) {
      read.add_success()->mutable_request_range()->set_key(JobKey(wanted[i]));
    }
    ASSIGN_OR_RETURN(const TxnResponse answer, Read(read));
    for (const etcdserverpb::ResponseOp& op : answer.responses()) {
      if (op.response_range().kvs_size() == 0) return Corrupt("a job's key is gone");
      ASSIGN_OR_RETURN(JobRecord record, Parse<JobRecord>(op.response_range().kvs(0)));
      records.push_back(std::move(record));
    }
  }
  return records;
}

absl::StatusOr<std::map<v1::JobState, int64_t>> EtcdStore::CountJobs() {
  RETURN_IF_ERROR(CheckLead());
  std::map<v1::JobState, int64_t> counts;
  for (const auto& [ordinal, entry] : jobs_) ++counts[entry.state];
  return counts;
}

absl::StatusOr<uint64_t> EtcdStore::LastOrdinal() {
  RETURN_IF_ERROR(CheckLead());
  return jobs_.empty() ? 0 : jobs_.rbegin()->first;
}

absl::StatusOr<std::vector<v1::JobEvent>> EtcdStore::Events(const std::string& job_id, uint64_t after, int limit) {
  std::vector<v1::JobEvent> events;
  RangeRequest request;
  request.set_range_end(EtcdPrefixEnd(EventsPrefix(job_id)));
  while (static_cast<int>(events.size()) < limit && after < UINT64_MAX) {
    request.set_key(EventKey(job_id, after + 1));
    request.set_limit(std::min<int64_t>(kEventsPerRead, limit - static_cast<int64_t>(events.size())));
    ASSIGN_OR_RETURN(const RangeResponse page, Range(request));
    for (const mvccpb::KeyValue& kv : page.kvs()) {
      ASSIGN_OR_RETURN(v1::JobEvent event, Parse<v1::JobEvent>(kv));
      after = event.sequence();
      events.push_back(std::move(event));
    }
    if (!page.more() || page.kvs_size() == 0) break;
  }
  return events;
}

// ------------------------------------------------------------------------------------------------ writing

absl::Status EtcdStore::Apply(const StoreBatch& batch) {
  RETURN_IF_ERROR(CheckBatch(batch));
  RETURN_IF_ERROR(CheckLead());
  EtcdTransaction txn;
  Changes changes;
  for (const JobRecord& record : batch.put_jobs) RETURN_IF_ERROR(PutJob(record, txn, changes));
  AddEvents(batch, txn);
  for (const std::string& job_id : batch.delete_jobs) DeleteJob(job_id, txn, changes);
  ASSIGN_OR_RETURN(const int64_t revision, Commit(txn.Build()));
  Remember(std::move(changes), revision);
  return absl::OkStatus();
}

const EtcdStore::Entry* EtcdStore::Find(uint64_t ordinal, const Changes& changes) const {
  const auto changed = changes.find(ordinal);
  if (changed != changes.end()) return changed->second.get();
  const auto known = jobs_.find(ordinal);
  return known != jobs_.end() ? &known->second : nullptr;
}

absl::Status EtcdStore::PutJob(const JobRecord& record, EtcdTransaction& txn, Changes& changes) {
  const v1::Job& job = record.job();
  const uint64_t ordinal = record.ordinal();
  const Entry* const present = Find(ordinal, changes);
  if (present != nullptr && present->job_id != job.job_id()) {
    return StoreConflict(absl::StrCat("ordinal ", ordinal, " of ", job.job_id(), " belongs to ", present->job_id));
  }
  const int64_t revision = present != nullptr ? present->revision : 0;
  if (present == nullptr) {
    for (const auto& [other, entry] : changes) {
      if (entry == nullptr || job.request_id().empty() || entry->request_id != job.request_id()) continue;
      return StoreConflict(absl::StrCat("request id of ", job.job_id(), " belongs to ", entry->job_id));
    }
    if (!job.request_id().empty() && by_request_.contains(job.request_id())) {
      return StoreConflict(absl::StrCat("the request id of ", job.job_id(), " belongs to another job"));
    }
    if (by_id_.contains(job.job_id())) return StoreConflict(absl::StrCat(job.job_id(), " has another ordinal"));
    txn.Put(IdKey(job.job_id()), absl::StrCat(ordinal));
    if (!job.request_id().empty()) txn.Put(RequestKey(job.request_id()), absl::StrCat(ordinal));
  }
  txn.RequireRevision(JobKey(ordinal), revision);
  txn.Put(JobKey(ordinal), record.SerializeAsString());
  changes[ordinal] = std::make_unique<Entry>(Entry{job.job_id(), job.request_id(), job.state(), revision});
  return absl::OkStatus();
}

void EtcdStore::AddEvents(const StoreBatch& batch, EtcdTransaction& txn) {
  std::map<std::string, uint64_t> newest;
  for (const v1::JobEvent& event : batch.add_events) {
    txn.Put(EventKey(event.job_id(), event.sequence()), event.SerializeAsString());
    uint64_t& sequence = newest[event.job_id()];
    sequence = std::max<uint64_t>(sequence, event.sequence());
  }
  for (const auto& [job_id, sequence] : newest) {
    if (sequence <= kMaxEventsPerJob) continue;
    txn.DeleteRange(EventKey(job_id, 0), EventKey(job_id, sequence - kMaxEventsPerJob + 1));
  }
}

void EtcdStore::DeleteJob(const std::string& job_id, EtcdTransaction& txn, Changes& changes) {
  txn.DeletePrefix(EventsPrefix(job_id));
  for (auto& [ordinal, entry] : changes) {  // Put by the same batch.
    if (entry == nullptr || entry->job_id != job_id) continue;
    txn.Delete(JobKey(ordinal));
    if (!entry->request_id.empty()) txn.Delete(RequestKey(entry->request_id));
    entry = nullptr;
  }
  const auto known = by_id_.find(job_id);
  if (known == by_id_.end()) return;
  const Entry& entry = jobs_.at(known->second);
  txn.RequireRevision(JobKey(known->second), entry.revision);
  txn.Delete(JobKey(known->second));
  if (!entry.request_id.empty()) txn.Delete(RequestKey(entry.request_id));
  changes[known->second] = nullptr;
}

absl::StatusOr<int64_t> EtcdStore::Commit(TxnRequest txn) {
  const std::string writer = absl::StrCat(leadership_.term(), " ", ++last_batch_);
  RequireTerm(leadership_, txn);
  etcdserverpb::Compare& last = *txn.add_compare();
  last.set_target(etcdserverpb::Compare::MOD);
  last.set_key(WriterKey());
  last.set_mod_revision(writer_revision_);
  etcdserverpb::PutRequest& put = *txn.add_success()->mutable_request_put();
  put.set_key(WriterKey());
  put.set_value(writer);
  txn.add_failure()->mutable_request_range()->set_key(leadership_.key());
  txn.add_failure()->mutable_request_range()->set_key(WriterKey());
  if (txn.ByteSizeLong() > kMaxRequestBytes) {
    return MakeError(absl::StatusCode::kResourceExhausted, "STORE_RECORD_TOO_LARGE",
                     absl::StrCat("a change of ", txn.ByteSizeLong(), " bytes; etcd takes at most ", kMaxRequestBytes));
  }
  bool in_doubt = false;
  const absl::Time end = absl::Now() + kPatience;
  while (true) {
    const absl::StatusOr<TxnResponse> answer = etcd_.Txn(txn);
    if (answer.ok()) {
      if (!answer->succeeded()) return Refused(*answer, writer);
      return writer_revision_ = answer->header().revision();
    }
    const absl::Status& status = answer.status();
    if (!absl::IsUnavailable(status) && !in_doubt) return status;
    in_doubt = true;
    if (!absl::IsUnavailable(status) || leadership_.remaining() <= kRetryPause || absl::Now() >= end) {
      const std::string message = absl::StrCat(status.message(), "; whether the change was stored is not known, so ",
                                               "this coordinator gives up the lead");
      leadership_.Lose(NotLeaderError(message, ""));
      return MakeError(absl::StatusCode::kUnavailable, "STORE_UNAVAILABLE", message);
    }
    absl::SleepFor(kRetryPause);
  }
}

// The conditions did not hold: because an earlier attempt was applied, we were deposed, or somebody meddled.
absl::StatusOr<int64_t> EtcdStore::Refused(const TxnResponse& answer, const std::string& writer) {
  if (answer.responses_size() != 2) return Corrupt("etcd answered a transaction with another");
  const RangeResponse& leader = answer.responses(0).response_range();
  const RangeResponse& written = answer.responses(1).response_range();
  if (written.kvs_size() > 0 && written.kvs(0).value() == writer) {
    return writer_revision_ = written.kvs(0).mod_revision();
  }
  absl::Status why;
  if (leader.kvs_size() == 0 || leader.kvs(0).create_revision() != leadership_.term()) {
    why = NotLeaderError("this coordinator was deposed: etcd refused its change", "");
  } else {
    why = MakeError(absl::StatusCode::kAborted, "STORE_CONFLICT",
                    absl::StrCat("somebody else changed the keys under ", prefix_, " in etcd; they are read again"));
  }
  leadership_.Lose(why);
  return why;
}

void EtcdStore::Remember(Changes changes, int64_t revision) {
  for (auto& [ordinal, entry] : changes) {
    if (entry != nullptr) {
      entry->revision = revision;
      by_id_[entry->job_id] = ordinal;
      if (!entry->request_id.empty()) by_request_[entry->request_id] = ordinal;
      jobs_[ordinal] = std::move(*entry);
      continue;
    }
    const auto known = jobs_.find(ordinal);
    if (known == jobs_.end()) continue;
    by_id_.erase(known->second.job_id);
    by_request_.erase(known->second.request_id);
    jobs_.erase(known);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> OpenEtcdStore(EtcdClient& etcd, Leadership& leadership,
                                                     const std::string& prefix) {
  auto store = std::make_unique<EtcdStore>(etcd, leadership, prefix);
  const absl::Status opened = store->Open();
  if (!opened.ok()) return Annotate(opened, absl::StrCat("job store ", prefix, " in ", etcd.description()));
  return std::unique_ptr<Store>(std::move(store));
}

}  // namespace paramd
