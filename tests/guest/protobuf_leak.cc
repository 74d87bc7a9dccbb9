// For the programs that fail allocations of messages: what protobuf loses then is no leak of ours.

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
// A repeated field of protobuf loses its new element where there is no memory to enter it.
// NOLINTNEXTLINE(bugprone-reserved-identifier): the sanitizer's name for it
extern "C" const char* __lsan_default_suppressions() {
  return "leak:google::protobuf::Arena::CreateMessageInternal\n";
}
#endif
#endif
