fn main() -> std::process::ExitCode {
    rowtide::main()
}
